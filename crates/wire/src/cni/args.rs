//! `CNI_ARGS`: what the runtime says about the pod.

use std::net::IpAddr;

use model::{Mac, PodRef};

use super::field::parse_addr;
use super::{Code, Error};

/// The arguments Seaway knows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Args {
    /// `K8S_POD_NAMESPACE`, `K8S_POD_NAME` and `K8S_POD_UID`.
    pub(super) pod: Option<PodRef>,
    /// `IP`: the address asked for.
    pub(super) addr: Option<IpAddr>,
    /// `MAC`: the hardware address asked for.
    pub(super) mac: Option<Mac>,
}

/// Reads `KEY=VALUE` pairs separated by semicolons.
///
/// An unknown key is an error unless `IgnoreUnknown` is true, so that an argument with a meaning is
/// never lost in silence; Kubernetes' runtimes always set it.
///
/// # Errors
/// Code 4, naming the pair.
///
/// Source: CNI conventions, `CNI_ARGS`; libcni `pkg/types/args.go` for `IgnoreUnknown`.
pub(super) fn parse(text: &str) -> Result<Args, Error> {
    let mut args = Args::default();
    let mut pod = PodRef { namespace: String::new(), name: String::new(), uid: String::new() };
    let mut unknown = Vec::new();
    let mut ignore_unknown = false;
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(wrong(pair, "a KEY=VALUE pair"));
        };
        match key {
            "K8S_POD_NAMESPACE" => value.clone_into(&mut pod.namespace),
            "K8S_POD_NAME" => value.clone_into(&mut pod.name),
            "K8S_POD_UID" => value.clone_into(&mut pod.uid),
            "K8S_POD_INFRA_CONTAINER_ID" => {}
            "IgnoreUnknown" => {
                ignore_unknown = flag(value).ok_or_else(|| wrong(pair, "true or false"))?;
            }
            "IP" => {
                args.addr = Some(parse_addr(value).ok_or_else(|| wrong(pair, "an IP address"))?);
            }
            "MAC" => {
                args.mac = Some(value.parse().map_err(|_| wrong(pair, "a hardware address"))?);
            }
            _ => unknown.push(pair),
        }
    }
    if !unknown.is_empty() && !ignore_unknown {
        return Err(wrong(&unknown.join(";"), "known; set IgnoreUnknown=1 to ignore it"));
    }
    args.pod = Some(pod).filter(|pod| !pod.namespace.is_empty() && !pod.name.is_empty());
    Ok(args)
}

fn flag(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn wrong(pair: &str, expected: &str) -> Error {
    Error::new(Code::InvalidEnvironment, format!("CNI_ARGS: {pair:?} is not {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_says_about_the_pod() {
        let cases = "
            containerd names the pod    | IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=d | a/b d
            no name is no pod           | K8S_POD_NAMESPACE=a                  | none
            nothing at all              |                                      | none
            unknown keys may be ignored | FOO=BAR;IgnoreUnknown=TRUE           | none
            unknown keys are refused    | FOO=BAR;ABC=123                      | CNI_ARGS: \"FOO=BAR;ABC=123\" is not known; set IgnoreUnknown=1 to ignore it
            and when told so            | IgnoreUnknown=0;FOO=BAR              | CNI_ARGS: \"FOO=BAR\" is not known; set IgnoreUnknown=1 to ignore it
            a flag is a flag            | IgnoreUnknown=yes                    | CNI_ARGS: \"IgnoreUnknown=yes\" is not true or false
            pairs are pairs             | K8S_POD_NAME                         | CNI_ARGS: \"K8S_POD_NAME\" is not a KEY=VALUE pair
            addresses are addresses     | IP=10.0.0.300                        | CNI_ARGS: \"IP=10.0.0.300\" is not an IP address";
        for line in cases.trim().lines() {
            let [_, args, expected] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let found = match parse(args) {
                Ok(Args { pod: Some(pod), .. }) => format!("{pod} {}", pod.uid),
                Ok(_) => "none".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn an_address_may_be_asked_for() {
        let args = parse("IP=192.168.10.4/24;MAC=02:00:00:00:00:01").unwrap();
        assert_eq!(args.addr, Some("192.168.10.4".parse().unwrap()));
        assert_eq!(args.mac, Some(Mac([2, 0, 0, 0, 0, 1])));
    }
}
