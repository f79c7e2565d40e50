//! The OpenMetrics text in the older form of Prometheus, for those who do not ask for the newer: other
//! programs' parsers, and people with curl.
//!
//! Source: Prometheus' text-based format, version 0.0.4; OpenMetrics 1.0, "Counter", "Info".

/// The same metrics. Names in comments are those of the samples, and kinds that the older form does not
/// have are ones that it has.
pub(crate) fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_name_samples_and_kinds_that_the_older_form_has() {
        let open = "# HELP a_build Version.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP b Things.\n# TYPE b counter\nb_total 2\n\
                    # HELP c Time.\n# TYPE c histogram\n# UNIT c seconds\nc_sum 0.5\nc_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let wanted = "# HELP a_build_info Version.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                      # HELP b_total Things.\n# TYPE b_total counter\nb_total 2\n\
                      # HELP c Time.\n# TYPE c histogram\nc_sum 0.5\nc_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(classic(open), wanted);
    }

    /// Every sample belongs to the comment above it, as parsers of the older form demand.
    #[test]
    fn every_sample_is_of_the_kind_above_it() {
        let text = classic(&crate::observe::Metrics::default().text());
        let mut name = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (of, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram", "untyped"].contains(&kind), "{line}");
                name = of;
            } else if !line.starts_with('#') {
                assert!(line.starts_with(name), "{line} under {name}");
            }
        }
    }
}
