//! Families and ranges of cluster IPs that come and go.

use std::net::IpAddr;

use libtest_mimic::Trial;
use model::{Family, Protocol};
use serde_json::json;

use super::ask::Notice;
use super::endpoints::slices;
use super::stage::{SILENCE, Stage, service};
use super::table::{ALL, Over, TCP_UDP};
use crate::lab::{eventually, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s35_a_service_becomes_single_and_dual_again_while_it_serves", families),
        test("s35_a_family_fails_for_itself", one_family_fails),
        test("s36_s37_s41_ranges_of_cluster_ips_come_go_and_overlap", ranges),
    ]
}

const V4: Over<'_> = Over { families: &[Family::V4], ..TCP_UDP };
const V6: Over<'_> = Over { families: &[Family::V6], ..TCP_UDP };

fn families() {
    let stage = Stage::up(&[]);
    stage.lab.apply(&service("web", "app: web", "  type: NodePort\n"));
    let everywhere =
        "pod-1 | cluster | web-1 web-2 | itself\n client | node-2 | web-1 web-2 | node-2";
    stage.check("web", ALL, everywhere);
    let dual = stage.frontends("web");
    stage.change("web", &json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]}));
    stage.check("web", V4, everywhere);
    stage.check_at(&dual, V6, "pod-1 | cluster | silence\n client | node-2 | refused");
    stage.change("web", &json!({"ipFamilyPolicy": "RequireDualStack"}));
    stage.check("web", ALL, everywhere);
}

/// No endpoint of one family is nothing to the other.
fn one_family_fails() {
    let stage = Stage::up(&[]);
    let addr = stage.at("web-1").addr(Family::V6).to_string();
    stage.lab.apply(&[service("web", "", ""), slices(&stage, "web", "all", &addr)].concat());
    stage.check("web", V6, "pod-1 | cluster | web-1 | itself");
    stage.check("web", V4, "pod-1 | cluster | refused\n node-2 | cluster | refused");
}

/// A range that is added, one inside of another, and a Service whose range is no more.
fn ranges() {
    let stage = Stage::up(&[]);
    let range = |name: &str, cidrs: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {{name: {name}}}\n\
             spec: {{cidrs: [{cidrs}]}}\n"
        )
    };
    let unused: IpAddr = "10.97.0.200".parse().expect("an address");
    let is_dropped = |wanted: bool| {
        eventually("unused addresses of a range are dropped, and no others", || {
            let noticed = stage.asks("pod-1", Protocol::Tcp, (unused, 80).into(), SILENCE);
            if (noticed == Notice::Silence) == wanted { Ok(()) } else { Err(noticed) }
        });
    };
    // The router knows no such network and says so.
    is_dropped(false);
    stage.lab.apply(&range("more", "10.97.0.0/24, 'fd00:10:97::/112'"));
    is_dropped(true);
    stage.lab.apply(&range("inner", "10.97.0.128/25"));
    eventually("the ranges are ready", || {
        let path = "jsonpath={.items[*].status.conditions[0].status}";
        match stage.kubectl(&["get", "servicecidr", "-o", path]) {
            ready if ready == "True True True" => Ok(()),
            ready => Err(ready),
        }
    });
    let ips = "  clusterIPs: [10.97.0.130, 'fd00:10:97::82']\n";
    stage.lab.apply(&service("web", "app: web", ips));
    let table = "pod-1 | cluster | web-1 web-2 | itself\n node-2 | cluster | web-1 web-2 | itself";
    stage.check("web", ALL, table);
    stage.check("web", ALL, "pod-1 | cluster:81 | refused");
    stage.kubectl(&["delete", "servicecidr", "inner"]);
    is_dropped(true);
    // The Service holds its range; without it, it is still served where it is.
    stage.kubectl(&["delete", "servicecidr", "more", "--wait=false"]);
    let freed = r#"{"metadata": {"finalizers": null}}"#;
    stage.kubectl(&["patch", "servicecidr", "more", "--type=merge", "-p", freed]);
    is_dropped(false);
    stage.check("web", ALL, table);
    stage.check("web", ALL, "pod-1 | cluster:81 | refused");
}
