"""Speed and size of kobs, beside the budgets of docs/architecture.md: `python -m bench`.

Real processes of kobs work on data that is made here, seeded. What is measured is CPU seconds for work done (user and
system, children included), resident memory, bytes in the store; for searches the time until the answer, too. Nothing
here is a test: other work on the machine moves the figures.
"""
