"""The file in Prometheus' form: what it means, what is refused and how that is told; promtool has a say too."""

import subprocess
from pathlib import Path

import pytest

from kobs.collectors.scraping.client_configuration import OAuth2, Tls
from kobs.collectors.scraping.configuration import GlobalConfig, ScrapeConfig
from kobs.collectors.scraping.configuration_file import _PASSED_OVER, Configuration, _File, _unknown, load
from kobs.errors import ConfigError
from tests.peers import peer

WHOLE = """\
global:
  scrape_interval: 15s
  scrape_timeout: 5s
  sample_limit: 1000
  body_size_limit: 10MB
  external_labels: {dc: "$KOBS_TEST_DC-1", price: "$$5"}
rule_files: [rules.yml]
scrape_config_files: ["more/*.yml"]
scrape_configs:
- job_name: first
  honor_labels: yes
  params: {module: [http, icmp]}
  basic_auth: {username: me, password: 0123}
  tls_config: {ca_file: ca.pem, insecure_skip_verify: true}
  static_configs:
  - targets: [localhost:9090]
    labels: {number: 1, truth: true, float: 1e3}
  relabel_configs:
  - {source_labels: [__address__], regex: '(.*):\\d+', target_label: host}
- job_name: second
  scrape_interval: 1m30s
  scrape_timeout: 1m
  sample_limit: 5
  scheme: https
  authorization: {credentials_file: token}
  file_sd_configs: [{files: ['targets/*.json']}]
  http_sd_configs: [{url: 'http://discovery:80/targets', bearer_token: hunter2}]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "scrape.yaml"
    path.write_text(text)
    return path


def loaded(folder: Path, text: str) -> Configuration:
    return load(write(folder, text))


def test_a_whole_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBS_TEST_DC", "here")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.yml").write_text("scrape_configs: [{job_name: third, tls_config: {ca_file: ca.pem}}]")
    configuration = loaded(tmp_path, WHOLE)
    first, second, third = configuration.jobs
    assert configuration.external_labels == {"dc": "here-1", "price": "$5"}
    assert configuration.notes == ("sections that have nothing to do with scraping are passed over: rule_files",)
    assert (first.scrape_interval, first.scrape_timeout, first.honor_labels) == (15_000, 5000, True)
    assert (first.sample_limit, first.body_size_limit) == (1000, 10 * 1024 * 1024)
    assert first.static_configs[0].labels == {"number": "1", "truth": "true", "float": "1e3"}
    assert first.basic_auth is not None
    assert first.basic_auth.password.get_secret_value() == "0123"
    assert (second.scrape_interval, second.scrape_timeout, second.sample_limit) == (90_000, 60_000, 5)
    assert second.file_sd_configs[0].files == (f"{tmp_path}/targets/*.json",)
    assert second.authorization is not None
    assert second.authorization.credentials_file == tmp_path / "token"
    assert third.tls_config.ca_file == tmp_path / "more" / "ca.pem"
    assert [path.name for path in configuration.files] == ["scrape.yaml", "a.yml"]
    assert "hunter2" not in repr(configuration)
    assert "0123" not in repr(configuration)


def test_what_is_left_out_has_prometheus_defaults(tmp_path: Path) -> None:
    (job,) = loaded(tmp_path, "scrape_configs: [{job_name: a}]").jobs
    assert (job.scrape_interval, job.scrape_timeout, job.metrics_path, job.scheme) == (
        60_000,
        10_000,
        "/metrics",
        "http",
    )
    assert (job.honor_labels, job.honor_timestamps, job.track_timestamps_staleness) == (False, True, False)
    assert (job.follow_redirects, job.enable_compression, job.sample_limit) == (True, True, 0)
    (short,) = loaded(tmp_path, "scrape_configs: [{job_name: a, scrape_interval: 5s}]").jobs
    assert short.scrape_timeout == 5000


def test_an_empty_file_has_no_jobs(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").jobs == ()
    assert loaded(tmp_path, "scrape_configs:\nglobal:\n").jobs == ()


BAD = {
    "syntax": ("scrape_configs: [", "expected YAML"),
    "twice": ("global: {}\nglobal: {}", "line 2: the key global appears twice"),
    "a-list": ("- a", "expected the sections global and scrape_configs"),
    "typo": ("global: {scrape_intervall: 5s}", "global.scrape_intervall: unknown key; did you mean scrape_interval?"),
    "section": ("scrape_config: []", "scrape_config: unknown key; did you mean scrape_configs?"),
    "no-name": ("scrape_configs: [{honor_labels: true}]", "scrape_configs[0].job_name: expected a value"),
    "same-name": ("scrape_configs: [{job_name: a}, {job_name: a}]", "found multiple scrape configs with job name 'a'"),
    "duration": ("global: {scrape_interval: 5 s}", "global.scrape_interval: expected a duration such as 15s"),
    "timeout": (
        "scrape_configs:\n- {job_name: a, scrape_interval: 5s, scrape_timeout: 6s}",
        "line 2: scrape_configs[0]: scrape timeout greater than scrape interval for the job 'a'",
    ),
    "global-timeout": ("global: {scrape_timeout: 2m}", "global: global scrape timeout greater than scrape interval"),
    "url-as-target": (
        "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://a/b']}]}]",
        "'http://a/b' is not a valid hostname",
    ),
    "two-ways": (
        "scrape_configs: [{job_name: a, bearer_token: hunter2, basic_auth: {username: x}}]",
        "at most one of basic_auth, authorization, oauth2, bearer_token & bearer_token_file",
    ),
    "basic": (
        "scrape_configs: [{job_name: a, authorization: {type: Basic, credentials: hunter2}}]",
        'authorization type cannot be set to "basic", use "basic_auth" instead',
    ),
    "header": (
        "scrape_configs: [{job_name: a, http_headers: {Host: {values: [x]}}}]",
        "setting header 'Host' is not allowed",
    ),
    "rule": (
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {action: hashmod, target_label: x}",
        "line 4: scrape_configs[0].relabel_configs[0]: relabel configuration for hashmod requires non-zero modulus",
    ),
    "sd-file": (
        "scrape_configs: [{job_name: a, file_sd_configs: [{files: [targets.txt]}]}]",
        "path name 'targets.txt' is not valid for file discovery",
    ),
    "sd-url": ("scrape_configs: [{job_name: a, http_sd_configs: [{url: 'ftp://x'}]}]", "expected a URL such as"),
    "protocol": ("scrape_configs: [{job_name: a, scrape_protocols: [Xml]}]", "unknown scrape protocol Xml"),
    "key": ("scrape_configs: [{job_name: a, tls_config: {cert_file: x}}]", "a client certificate needs both"),
    "no-proxy": ("scrape_configs: [{job_name: a, no_proxy: x}]", "if no_proxy is configured, proxy_url must also be"),
    "oauth-client": (
        "scrape_configs: [{job_name: a, oauth2: {token_url: 'http://b'}}]",
        "oauth2 client_id must be configured",
    ),
    "oauth-no-url": (
        "scrape_configs: [{job_name: a, oauth2: {client_id: a}}]",
        "oauth2 token_url must be configured",
    ),
    "oauth-two-secrets": (
        (
            "scrape_configs:\n- job_name: a\n  oauth2:\n    {client_id: a, token_url: 'http://b',"
            " client_secret: hunter2, client_secret_file: c}"
        ),
        "at most one of oauth2 client_secret & client_secret_file",
    ),
    "oauth-and-basic": (
        "scrape_configs: [{job_name: a, basic_auth: {username: x}, oauth2: {client_id: a, token_url: 'http://b'}}]",
        "at most one of basic_auth, authorization, oauth2",
    ),
    "external-label": ("global: {external_labels: {'': x}}", "external label '' is not a valid label name"),
}
ONLY_OURS = {
    "kubernetes": (
        "scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pod}]}]",
        "kubernetes_sd_configs: this kind of discovery is not supported; use static_configs, file_sd_configs or",
    ),
    "oauth-jwt": (
        "scrape_configs: [{job_name: a, oauth2: {client_id: a, token_url: 'http://b', audience: c}}]",
        "oauth2.audience: not supported; a token is asked for with grant_type client_credentials only",
    ),
    "oauth-grant": (
        "scrape_configs: [{job_name: a, oauth2: {client_id: a, token_url: 'http://b', grant_type: hunter2}}]",
        "oauth2.grant_type: expected '' or 'client_credentials'",
    ),
    "oauth-url": (
        "scrape_configs: [{job_name: a, oauth2: {client_id: a, token_url: hunter2}}]",
        "oauth2 token_url: expected a URL such as https://issuer.example/token",
    ),
    "oauth-scope": (
        (
            "scrape_configs:\n- job_name: a\n  oauth2:\n    {client_id: a, token_url: 'http://b', scopes: [c],"
            " endpoint_params: {scope: hunter2}}"
        ),
        "oauth2 endpoint_params cannot have scope beside scopes",
    ),
    "oauth-ref": (
        "scrape_configs: [{job_name: a, oauth2: {client_id: a, token_url: 'http://b', client_secret_ref: c}}]",
        "oauth2.client_secret_ref: not supported; use client_secret_file",
    ),
    "extra": (
        "scrape_configs: [{job_name: a, extra_scrape_metrics: true}]",
        "extra_scrape_metrics: not supported; scrape_timeout_seconds, scrape_sample_limit",
    ),
    "protobuf": (
        "scrape_configs: [{job_name: a, scrape_protocols: [PrometheusProto]}]",
        "expected a text protocol beside PrometheusProto",
    ),
    "proxy": (
        "scrape_configs: [{job_name: a, proxy_url: 'ftp://u:hunter2@x:1'}]",
        "expected a URL of a proxy such as http://proxy.example:3128 or socks5://",
    ),
}


@pytest.mark.parametrize(("text", "reason"), [*BAD.values(), *ONLY_OURS.values()], ids=[*BAD, *ONLY_OURS])
def test_what_is_wrong_is_told_with_file_line_and_key(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert reason in str(raised.value)
    assert str(path) in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, "global: {a: 1}\nscrape_configs: [{b: 1}, {job_name: c, scheme: ftp}]")
    told = str(raised.value).splitlines()
    assert told[0].endswith("4 things are wrong:")
    assert len(told) == 5


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "missing.yaml")


def promtool_accepts(path: Path) -> bool:
    done = subprocess.run(
        [peer("promtool"), "check", "config", "--syntax-only", path], capture_output=True, check=False
    )
    return done.returncode == 0


def test_promtool_accepts_what_is_accepted(tmp_path: Path) -> None:
    assert promtool_accepts(write(tmp_path, WHOLE.replace("yes", "true")))


# What is a matter of two keys together Prometheus checks too; that it takes the last of two equal keys, it does not.
@pytest.mark.parametrize("name", BAD)
def test_promtool_refuses_what_is_refused(tmp_path: Path, name: str) -> None:
    assert not promtool_accepts(write(tmp_path, BAD[name][0]))


KEYS = {
    "file": ("global scrape_configs scrape_config_files rule_files alerting remote_write remote_read otlp storage"
             " tracing runtime"),
    "global": ("scrape_interval scrape_timeout scrape_protocols evaluation_interval rule_query_offset external_labels"
               " query_log_file scrape_failure_log_file body_size_limit sample_limit label_limit"
               " label_name_length_limit label_value_length_limit target_limit keep_dropped_targets"
               " metric_name_validation_scheme metric_name_escaping_scheme scrape_native_histograms"
               " convert_classic_histograms_to_nhcb always_scrape_classic_histograms"),
    "job": ("job_name scrape_interval scrape_timeout scrape_protocols fallback_scrape_protocol"
            " scrape_native_histograms always_scrape_classic_histograms convert_classic_histograms_to_nhcb"
            " metrics_path honor_labels honor_timestamps track_timestamps_staleness scheme params enable_compression"
            " scrape_failure_log_file basic_auth authorization oauth2 bearer_token bearer_token_file follow_redirects"
            " enable_http2 tls_config proxy_url no_proxy proxy_from_environment proxy_connect_header http_headers"
            " static_configs file_sd_configs http_sd_configs relabel_configs metric_relabel_configs body_size_limit"
            " sample_limit label_limit label_name_length_limit label_value_length_limit target_limit"
            " keep_dropped_targets metric_name_validation_scheme metric_name_escaping_scheme"
            " native_histogram_bucket_limit native_histogram_min_bucket_factor"),
    "oauth2": ("client_id client_secret client_secret_file scopes token_url endpoint_params grant_type tls_config"
               " proxy_url no_proxy proxy_from_environment proxy_connect_header"),
    "tls": ("ca ca_file cert cert_file key key_file server_name insecure_skip_verify min_version max_version"),
}  # fmt: skip
"""All keys of Prometheus 3.8 about scraping that are taken; the rest are refused by name."""
REFUSED = {
    "oauth2": ("client_secret_ref client_certificate_key client_certificate_key_file client_certificate_key_id"
               " client_certificate_key_ref signature_algorithm iss audience claims"),
    "tls": "ca_ref cert_ref key_ref",
}  # fmt: skip


def test_every_key_of_prometheus_is_taken_or_refused_by_name() -> None:
    models = {"global": GlobalConfig, "job": ScrapeConfig, "oauth2": OAuth2, "tls": Tls}
    for name, model in models.items():
        assert set(KEYS[name].split()) == set(model.model_fields)
    taken = {field.alias or key for key, field in _File.model_fields.items()} | set(_PASSED_OVER)
    assert set(KEYS["file"].split()) == taken
    for key in " ".join(REFUSED.values()).split():
        assert _unknown(key, OAuth2).startswith("not supported; ")


def test_what_has_no_effect_is_told(tmp_path: Path) -> None:
    notes = loaded(
        tmp_path,
        "global: {evaluation_interval: 1m, scrape_failure_log_file: f}\n"
        "scrape_configs: [{job_name: a, scrape_native_histograms: true}]",
    ).notes
    assert [note.rpartition(": ")[2] for note in notes if "scrape_failure_log_file" not in note] == [
        "scrape_native_histograms", "evaluation_interval",
    ]  # fmt: skip
    assert any(note.startswith("scrape_failure_log_file is not written") for note in notes)
