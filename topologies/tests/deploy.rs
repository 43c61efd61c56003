//! What `deploy/` shows and alerts on exists, and all that exists is shown.
//!
//! A dashboard that names a metric the engine does not have is silent about it: the panel stays empty
//! and the alert never fires. So each name is looked up in the engine's own table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use millstream::server::DEFAULT_METRICS_ADDRESS;
use millstream_engine::metrics::{ALL, Kind, Metric};
use serde::Deserialize;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&text("grafana-dashboard.json")).unwrap()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    lasting: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn rules() -> Rules {
    serde_saphyr::from_str(&text("rules.yml")).unwrap()
}

/// Every `millstream_…` word of a text.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("millstream_"))
        .collect()
}

/// The metric of a name as Prometheus knows it: a histogram is only there as its three series.
fn metric(name: &str) -> Option<&'static Metric> {
    let find = |name: &str, is_histogram: bool| {
        ALL.iter()
            .find(|m| m.name == name && (m.kind == Kind::Histogram) == is_histogram)
    };
    find(name, false).or_else(|| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let base = suffixes.iter().find_map(|s| name.strip_suffix(s))?;
        find(base, true)
    })
}

#[test]
fn every_metric_named_in_deploy_exists() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for name in names(&text) {
            assert!(
                metric(name).is_some(),
                "{}: no metric {name}",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(
        seen >= ALL.len(),
        "only {seen} names found: is the search broken?"
    );
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let dashboard = dashboard();
    let expressions: Vec<_> = panels(&dashboard).flat_map(expressions).collect();
    let shown: BTreeSet<_> = expressions
        .iter()
        .flat_map(|expression| names(expression))
        .filter_map(metric)
        .map(|metric| metric.name)
        .collect();
    for Metric { name, .. } in ALL {
        assert!(shown.contains(name), "{name} is on no panel");
    }
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter()
}

fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    let targets = panel["targets"].as_array();
    let targets = targets.into_iter().flatten();
    targets.map(|target| target["expr"].as_str().unwrap())
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard = dashboard();
    assert_eq!(dashboard["schemaVersion"], 39);
    // With an id of its own an import would replace some other dashboard.
    assert_eq!(dashboard["id"], Value::Null);
    let variables: Vec<_> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "instance", "partition"]);
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{title} is too wide");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(cells.insert((x, y)), "{title} lies on another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(expressions(panel).count() > 0, "{title} shows nothing");
        for expression in expressions(panel) {
            let balance =
                |open, close| expression.matches(open).count() == expression.matches(close).count();
            assert!(
                balance('(', ')') && balance('{', '}') && balance('[', ']'),
                "{expression}"
            );
        }
    }
}

#[test]
fn every_alert_says_what_and_how_urgent() {
    let rules = rules();
    let mut alerts = BTreeSet::new();
    for group in &rules.groups {
        assert!(!group.rules.is_empty(), "{}", group.name);
        for rule in &group.rules {
            let name = &rule.alert;
            assert!(alerts.insert(name.as_str()), "{name} stands twice");
            assert!(name.starts_with("Millstream"), "{name}");
            assert!(
                !names(&rule.expr).is_empty() || rule.expr.starts_with("up{job=\"millstream\"}"),
                "{name} asks for nothing of ours"
            );
            let severity = rule.labels["severity"].as_str();
            assert!(["page", "ticket"].contains(&severity), "{name}");
            for text in ["summary", "description"] {
                assert!(!rule.annotations[text].is_empty(), "{name}");
            }
            if let Some(lasting) = &rule.lasting {
                assert!(lasting.ends_with('m'), "{name}: {lasting}");
            }
        }
    }
    for needed in [
        "MillstreamWriterStopped",
        "MillstreamStateWriterStopped",
        "MillstreamDataflowFailed",
        "MillstreamProjectionLagging",
        "MillstreamProjectionKeysParked",
        "MillstreamMailboxFull",
    ] {
        assert!(alerts.contains(needed), "{needed}");
    }
}

#[test]
fn prometheus_scrapes_the_default_address() {
    let config: Value = serde_saphyr::from_str(&text("prometheus.yml")).unwrap();
    let scrape = &config["scrape_configs"][0];
    assert_eq!(scrape["job_name"], "millstream");
    assert_eq!(scrape["metrics_path"], "/metrics");
    let target = &scrape["static_configs"][0]["targets"][0];
    assert_eq!(target, &Value::from(DEFAULT_METRICS_ADDRESS.to_string()));
    assert_eq!(config["rule_files"][0], "rules.yml");
}
