//! Corefiles, the documents that they become, and what is told of the rest.

use super::*;

/// The document that `corefile` becomes, and what is left of it.
fn converted(corefile: &str) -> (String, Vec<String>) {
    let mut files = |pattern: &str| match pattern {
        "custom/*.override" => {
            vec![("custom/a.override".into(), "rewrite name a.example b.example".into())]
        }
        "custom/*.server" => {
            let text = "corp.example:53 {\n  forward . 192.0.2.1\n}\n";
            vec![("custom/b.server".into(), text.into())]
        }
        "itself" => vec![("itself".into(), "import itself".into())],
        _ => Vec::new(),
    };
    let Converted { settings, left } = convert("Corefile", corefile, &mut files);
    let text = settings.to_string();
    assert_eq!(text.parse::<Forwarding>().unwrap(), settings, "{text}");
    (text, left.iter().map(ToString::to_string).collect())
}

#[test]
fn kubeadms_corefile_is_carried_over() {
    let (text, left) = converted(
        ".:53 {
            errors
            health {
               lameduck 5s
            }
            ready
            kubernetes cluster.local in-addr.arpa ip6.arpa {
               pods insecure
               fallthrough in-addr.arpa ip6.arpa
               ttl 30
            }
            prometheus :9153
            forward . /etc/resolv.conf {
               max_concurrent 1000
            }
            cache 30 {
               disable success cluster.local
               disable denial cluster.local
            }
            loop
            reload
            loadbalance
        }",
    );
    let class = "{capacity: 9984, maxTTL: 30, minTTL: 5}";
    assert_eq!(text, format!("cache:\n  success: {class}\n  denial: {class}\n"));
    let agents = "how objects are named is a setting of the agent";
    assert_eq!(
        left,
        [format!("Corefile:8: pods insecure: {agents}"), format!("Corefile:10: ttl 30: {agents}"),]
    );
}

#[test]
fn zones_hosts_and_rewrites_are_carried_over() {
    let (text, left) = converted(
        "(shared) {
            cache 600
        }
        . {
            import shared
            import custom/*.override
            rewrite stop {
              name suffix .old.example .new.example answer auto
            }
            hosts {
              192.0.2.7 Db.example \"db\" # a comment
              ttl 60
              fallthrough
            }
            forward . tls://9.9.9.9 tls://149.112.112.112%dns.quad9.net:8853 {
              tls_servername dns.quad9.net
              policy sequential
              expire 20s
            }
        }
        import custom/*.server
        stub.example, other.example {
            forward . 10.0.0.1 10.0.0.2:5353 {
              force_tcp
              max_fails 0
            }
        }",
    );
    assert_eq!(left, [""; 0]);
    let expected = r#"hosts:
- address: 192.0.2.7
  names: [db.example, db]
hostsTTL: 60
rewrites:
- exact: a.example
  to: b.example
- suffix: old.example
  to: new.example
forward:
- zone: "."
  to: ["tls://9.9.9.9%dns.quad9.net:853", "tls://149.112.112.112%dns.quad9.net:8853"]
  policy: sequential
  expire: 20000ms
- zone: corp.example
  to: ["192.0.2.1:53"]
- zone: stub.example
  to: ["tcp://10.0.0.1:53", "tcp://10.0.0.2:5353"]
  maxFails: 0
- zone: other.example
  to: ["tcp://10.0.0.1:53", "tcp://10.0.0.2:5353"]
  maxFails: 0
cache:
  success: {capacity: 9984, maxTTL: 600, minTTL: 5}
  denial: {capacity: 9984, maxTTL: 600, minTTL: 5}
"#;
    assert_eq!(text, expected);
}

#[test]
fn what_cannot_be_carried_over_is_told_by_its_line() {
    for (line, why) in [
        ("template IN A", "there is no equivalent"),
        ("rewrite name regex (.*) a", "names are rewritten as a whole"),
        ("rewrite continue name a b", "`continue` has no equivalent"),
        ("rewrite ttl a 5", "only names are rewritten"),
        ("rewrite name exact a b answer value c d", "are not rewritten otherwise"),
        ("hosts /etc/hosts", "files and zones of hosts are not read"),
        ("forward . https://9.9.9.9", "is no server that can be asked"),
        ("forward . dns.example", "is no server that can be asked"),
        ("import absent/*", "no file is there"),
        ("import itself", "it imports itself"),
        ("kubernetes k8s.example", "is a setting of the agent"),
    ] {
        let (_, left) = converted(&format!("# first\n. {{\n  {line}\n}}"));
        assert!(left.iter().any(|left| left.contains(why)), "{line}: {left:?}");
        let is_placed = |left: &String| left.starts_with("Corefile:3: ") || line == "import itself";
        assert!(left.iter().all(is_placed), "{line}: {left:?}");
    }
}

#[test]
fn braces_that_do_not_fit_are_told() {
    for corefile in ["}", ". {", ". {\n hosts {\n}", "a { b { c { d { e { f { g { h { i {\n"] {
        let (_, left) = converted(corefile);
        let is_told = |left: &String| left.contains("close") || left.contains("deep");
        assert!(left.iter().any(is_told) || corefile.starts_with('a'), "{corefile}: {left:?}");
    }
}

#[test]
fn a_log_is_one_of_all_questions_and_what_it_leaves_out_is_told() {
    for (corefile, told) in [
        (". {\n  log\n}", &[][..]),
        (". {\n  log . {common} {\n    class all\n  }\n}", &[]),
        (
            ". {\n  log corp.example {\n    class denial error\n  }\n}",
            &[
                "Corefile:2: log corp.example: all questions are logged, in the common log format",
                "Corefile:3: class denial error: all questions are logged",
            ],
        ),
        (
            "corp.example {\n  log\n}",
            &["Corefile:2: log: all questions are logged, in the common log format"],
        ),
    ] {
        let (text, left) = converted(corefile);
        assert_eq!(text, "log: all\n", "{corefile}");
        assert_eq!(left, told, "{corefile}");
    }
}
