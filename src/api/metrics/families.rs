//! Metric families that are made anew for each scrape, from state that is kept elsewhere.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Families in the order in which they are added.
#[derive(Debug, Default)]
pub(super) struct Families(pub(super) Vec<MetricFamily>);

/// One value with its labels.
pub(super) type Sample<'a> = (&'a [(&'a str, &'a str)], f64);

impl Families {
    /// The name says what it counts and ends in `_total`, except where llama-server's does not.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.add(MetricType::COUNTER, name, help, &[(&[], value)]);
    }

    /// A counter with labels; without samples there is no family.
    pub(super) fn counters(&mut self, name: &str, help: &str, samples: &[Sample<'_>]) {
        self.add(MetricType::COUNTER, name, help, samples);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.add(MetricType::GAUGE, name, help, &[(&[], value)]);
    }

    /// A gauge with labels; without samples there is no family.
    pub(super) fn gauges(&mut self, name: &str, help: &str, samples: &[Sample<'_>]) {
        self.add(MetricType::GAUGE, name, help, samples);
    }

    fn add(&mut self, kind: MetricType, name: &str, help: &str, samples: &[Sample<'_>]) {
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(samples.iter().map(|sample| metric(kind, sample)).collect());
        self.0.push(family);
    }
}

fn metric(kind: MetricType, &(labels, value): &Sample<'_>) -> Metric {
    let labels = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::from_label(labels.collect());
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}
