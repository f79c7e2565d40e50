//! How a client looks for names that it was not told in full.

use std::fmt;

use crate::DomainName;

/// Most domains that a list has: more of them Kubernetes does not take (DNS-51).
const MOST: usize = 32;

/// The option by which single labels are not looked up as they are (glibc).
const NO_TLD_QUERY: &str = "no-tld-query";

/// What a client looks a name up as when it is not there: the search list of its `resolv.conf`.
///
/// Clients agree about it: a name with fewer dots than `ndots` is tried in each domain, in order, and then as
/// it is; one with more is tried as it is before that. The first that exists is the one.
///
/// Source: resolv.conf(5); `res_search` of glibc, `name_from_dns_search` of musl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchList {
    /// At least one, in lower case.
    domains: Box<[DomainName]>,
    ndots: u8,
}

impl SearchList {
    /// The list with these domains, of a client with these options, both as `resolv.conf` has them. `None`
    /// when there is no domain, or it can't be said what every client makes of them: names that are none, too
    /// many, options that not everybody knows.
    pub fn new(domains: &[impl AsRef<str>], options: &[impl AsRef<str>]) -> Option<Self> {
        let domain = |text: &_| {
            let text = AsRef::<str>::as_ref(text);
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let name = text.parse::<DomainName>().ok().filter(|_| text.bytes().all(is_plain));
            name.map(|name| name.lowered())
        };
        let domains: Option<Box<[_]>> = domains.iter().map(domain).collect();
        let mut ndots = 1;
        for option in options.iter().map(AsRef::as_ref) {
            match option.split_once(':') {
                Some(("ndots", count)) => ndots = count.parse().ok()?,
                None if option == NO_TLD_QUERY => return None,
                Some(_) | None => {}
            }
        }
        domains
            .filter(|domains| (1..=MOST).contains(&domains.len()))
            .map(|domains| SearchList { domains, ndots })
    }

    /// Where names are tried, in order: at least one domain, in lower case.
    pub fn domains(&self) -> &[DomainName] {
        &self.domains
    }

    /// A name with so many dots, or more, is tried as it is first.
    pub fn ndots(&self) -> u8 {
        self.ndots
    }

    /// What the client tries next, in order, when it hears that `name` is not there: nothing unless `name`
    /// is one in the first domain. Names that would be too long are left out.
    pub fn after<'a>(&'a self, name: &'a DomainName) -> impl Iterator<Item = DomainName> + 'a {
        let first = &self.domains[0];
        let labels = name.below(first).map_or(0, Iterator::count);
        // With as many dots as `ndots` it was tried as it is before all others.
        let bare = (labels <= usize::from(self.ndots)).then_some(&DomainName::ROOT);
        let ends = self.domains[1..].iter().chain(bare).filter(move |_| labels > 0);
        ends.filter_map(move |end| name.moved(first, end))
    }
}

/// `ns.svc.cluster.local. svc.cluster.local. ndots:5`
impl fmt::Display for SearchList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.domains.iter().try_for_each(|domain| write!(f, "{domain} "))?;
        write!(f, "ndots:{}", self.ndots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(domains: &str, options: &str) -> Option<SearchList> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        SearchList::new(&words(domains), &words(options))
    }

    #[test]
    fn dns101_a_list_is_what_resolv_conf_says_or_none_when_clients_differ_about_it() {
        let many = "a ".repeat(33);
        let cases = [
            (
                "a.svc.cluster.local svc.cluster.local. CORP",
                "ndots:5 edns0",
                "a.svc.cluster.local. svc.cluster.local. corp. ndots:5",
            ),
            ("corp", "", "corp. ndots:1"),
            ("corp .", "timeout:1 ndots:0", "corp. . ndots:0"),
            ("_under.score 1digit", "ndots:2 ndots:3", "_under.score. 1digit. ndots:3"),
            ("", "ndots:5", "none"),
            ("corp a..b", "", "none"),
            ("corp;x", "", "none"),
            ("corp", "no-tld-query", "none"),
            ("corp", "ndots:many", "none"),
            (&many, "", "none"),
        ];
        for (domains, options, expected) in cases {
            let list = list(domains, options);
            let shown = list.map_or("none".to_owned(), |list| list.to_string());
            assert_eq!(shown, expected, "{domains} {options}");
        }
    }

    #[test]
    fn dns102_what_is_tried_next_is_the_rest_of_the_list_and_at_last_the_name_itself() {
        let domains = "ns.svc.cluster.local svc.cluster.local cluster.local corp";
        let cases = [
            (
                "example.org.ns.svc.cluster.local.",
                5,
                "example.org.svc.cluster.local. example.org.cluster.local. example.org.corp. example.org.",
            ),
            (
                "web.ns.svc.cluster.local.",
                5,
                "web.svc.cluster.local. web.cluster.local. web.corp. web.",
            ),
            // One dot is as many as one dot: it was tried as it is.
            (
                "example.org.ns.svc.cluster.local.",
                1,
                "example.org.svc.cluster.local. example.org.cluster.local. example.org.corp.",
            ),
            (
                "web.ns.svc.cluster.local.",
                1,
                "web.svc.cluster.local. web.cluster.local. web.corp. web.",
            ),
            ("web.ns.svc.cluster.local.", 0, "web.svc.cluster.local. web.cluster.local. web.corp."),
            // On whole labels, and in the first domain alone.
            ("evil-ns.svc.cluster.local.", 5, ""),
            ("ns.svc.cluster.local.", 5, ""),
            ("web.svc.cluster.local.", 5, ""),
            ("example.org.", 5, ""),
        ];
        for (name, ndots, expected) in cases {
            let list = list(domains, &format!("ndots:{ndots}")).unwrap();
            let name: DomainName = name.parse().unwrap();
            let next: Vec<String> = list.after(&name).map(|name| name.to_string()).collect();
            assert_eq!(next.join(" "), expected, "{name} ndots:{ndots}");
        }
        let label = "a".repeat(63);
        let name: DomainName = format!("{label}.{label}.{label}.b").parse().unwrap();
        let list = list(&format!("b {} c", "long.".repeat(20)), "ndots:5").unwrap();
        let next: Vec<_> = list.after(&name).collect();
        let wanted = [format!("{label}.{label}.{label}.c."), format!("{label}.{label}.{label}.")];
        assert_eq!(next.iter().map(DomainName::to_string).collect::<Vec<_>>(), wanted);
    }
}
