"""The grammar of PromQL, of which lark makes LALR tables; the lexer is our own.

A precedence is a layer of rules. `ERROR` is no token of a text: rules with it tell what is said of a token that nobody
expected, in the innermost construct that has such a rule (`parser.py`).

Source: Prometheus 3.8, `promql/parser/generated_parser.y`, for what is accepted and what is said.
"""

GRAMMAR = r"""
start: disjunction

?disjunction: conjunction | disjunction OR modifier conjunction -> binary
?conjunction: comparison | conjunction AND_UNLESS modifier comparison -> binary
?comparison: sum | comparison COMPARISON modifier sum -> binary
?sum: product | sum SIGN modifier product -> binary
?product: signed | product (TIMES | ATAN2) modifier signed -> binary
?signed: power | SIGN signed -> unary
?power: operand | operand POWER modifier signed -> binary

modifier: bool_modifier
        | bool_modifier ON_IGNORING labels
        | bool_modifier ON_IGNORING labels GROUP labels?
bool_modifier: BOOL?

?operand: aggregation
        | IDENTIFIER arguments -> call
        | literal
        | STRING -> string
        | LPAR disjunction RPAR -> parentheses
        | selector
        | operand OFFSET offset -> offset_modifier
        | operand OFFSET ERROR -> error_offset
        | operand EXTENSION -> extension
        | operand AT literal -> at_time
        | operand AT SIGN literal -> at_time
        | operand AT START_END LPAR RPAR -> at_anchor
        | operand AT ERROR -> error_at
        | operand LSQB positive RSQB -> matrix
        | operand LSQB positive COLON positive RSQB -> subquery
        | operand LSQB positive COLON RSQB -> subquery
        | operand LSQB positive COLON positive ERROR -> error_step_end
        | operand LSQB positive COLON ERROR -> error_step
        | operand LSQB positive ERROR -> error_range_end
        | operand LSQB ERROR -> error_range

literal: NUMBER | DURATION

aggregation: aggregator grouping arguments
           | aggregator arguments grouping -> aggregation_before
           | aggregator arguments
           | aggregator ERROR -> error_aggregation
aggregator: AGGREGATION | MIN_MAX
grouping: (BY | WITHOUT) labels

arguments: LPAR RPAR | LPAR argument_list RPAR
argument_list: disjunction
             | argument_list COMMA disjunction
             | argument_list COMMA -> trailing_comma

labels: LPAR RPAR
      | LPAR label_list RPAR
      | LPAR label_list COMMA RPAR
      | ERROR -> error_labels
label_list: label
          | label_list COMMA label
          | label_list ERROR -> error_label_list
label: label_word
     | STRING -> quoted_label
     | ERROR -> error_label
!label_word: AGGREGATION | MIN_MAX | BOOL | BY | GROUP | IDENTIFIER | ON_IGNORING | AND_UNLESS | OR
           | METRIC_IDENTIFIER | OFFSET | START_END | ATAN2 | STEP | EXTENSION

selector: name matchers | name | matchers -> nameless
!name: AGGREGATION | MIN_MAX | BY | IDENTIFIER | AND_UNLESS | OR | METRIC_IDENTIFIER | OFFSET | WITHOUT | START_END
     | STEP | EXTENSION
matchers: LBRACE RBRACE
        | LBRACE matcher_list RBRACE
        | LBRACE matcher_list COMMA RBRACE
matcher_list: matcher
            | matcher_list COMMA matcher
            | matcher_list ERROR -> error_matcher_list
matcher: (IDENTIFIER | STRING) MATCHING STRING
       | STRING -> quoted_name
       | (IDENTIFIER | STRING) MATCHING ERROR -> error_matcher_value
       | IDENTIFIER ERROR -> error_matcher_operator
       | ERROR -> error_matcher

offset: literal -> plain_duration
      | SIGN literal -> signed_duration
      | SIGN SIGN duration_signed -> twice_signed_duration
      | SIGN? step
      | SIGN? extreme
      | SIGN LPAR duration RPAR -> wrapped_offset
      | LPAR duration RPAR -> duration_parentheses

positive: duration
?duration: duration_product | duration SIGN duration_product -> duration_operation
?duration_product: duration_signed | duration_product TIMES duration_signed -> duration_operation
?duration_signed: duration_power | SIGN duration_signed -> signed_duration
?duration_power: duration_operand | duration_operand POWER duration_signed -> duration_operation
?duration_operand: literal -> plain_duration
                 | step
                 | extreme
                 | LPAR duration RPAR -> duration_parentheses
step: STEP LPAR RPAR
extreme: MIN_MAX LPAR duration COMMA duration RPAR

%declare AGGREGATION AND_UNLESS AT ATAN2 BOOL BY COLON COMMA COMPARISON DURATION ERROR EXTENSION GROUP IDENTIFIER
%declare LBRACE LPAR LSQB MATCHING METRIC_IDENTIFIER MIN_MAX NUMBER OFFSET ON_IGNORING OR POWER RBRACE RPAR RSQB SIGN
%declare START_END STEP STRING TIMES WITHOUT
"""

ERRORS = {
    "error_offset": ("offset", "number, duration, or step()"),
    "error_at": ("@", "timestamp"),
    "error_step_end": ("subquery selector", '"]"'),
    "error_step": ("subquery selector", 'number, duration, or step() or "]"'),
    "error_range_end": ("subquery or range", '":" or "]"'),
    "error_range": ("subquery or range selector", "number, duration, or step()"),
    "error_aggregation": ("aggregation", ""),
    "error_labels": ("grouping opts", '"("'),
    "error_label_list": ("grouping opts", '"," or ")"'),
    "error_label": ("grouping opts", "label"),
    "error_matcher_list": ("label matching", '"," or "}"'),
    "error_matcher_value": ("label matching", "string"),
    "error_matcher_operator": ("label matching", "label matching operator"),
    "error_matcher": ("label matching", 'identifier or "}"'),
}
"""Where a token was not expected, and what was, in Prometheus' words, by the alias of the rule with `ERROR`."""

EXPECTED = {
    **dict.fromkeys(("OR", "AND_UNLESS", "ATAN2", "COMPARISON", "POWER", "TIMES"), "an operator"),
    "AT": '"@"',
    "BOOL": "bool",
    **dict.fromkeys(("BY", "WITHOUT"), "by or without"),
    "COLON": '":"',
    "COMMA": '","',
    **dict.fromkeys(("NUMBER", "DURATION"), "a number"),
    "GROUP": "group_left or group_right",
    "LBRACE": '"{"',
    "LPAR": '"("',
    "LSQB": '"["',
    "MATCHING": "one of = != =~ !~",
    "OFFSET": "offset",
    "ON_IGNORING": "on or ignoring",
    "RBRACE": '"}"',
    "RPAR": '")"',
    "RSQB": '"]"',
    "START_END": "start() or end()",
    "STRING": "a string",
    "IDENTIFIER": "a name",
    "$END": "the end",
}
"""What a person is told of the grammar's tokens."""
