//! Which families a Service gets, from what it asks for and what the cluster has.

use std::net::IpAddr;

use model::Family;
use serde_json::{Value, json};

use super::Refused;

const POLICY: &str = "spec.ipFamilyPolicy";
const MULTIPLE: &str = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are \
                        specified";

/// Settles `ipFamilyPolicy` and `ipFamilies` of a Service's `spec`, `old` being its stored spec, and
/// shortens its addresses where it goes back to one family.
///
/// Source: `initIPFamilyFields` and `trimFieldsForDualStackDowngrade`.
pub(super) fn settle(
    spec: &mut Value,
    old: Option<&Value>,
    cluster: &[Family],
) -> Result<(), Refused> {
    downgrade(spec, old);
    if is_anybodys(spec) && spec["ipFamilyPolicy"].is_null() {
        // Whoever writes its endpoints may write any family.
        spec["ipFamilyPolicy"] = json!("RequireDualStack");
        let mut families = named(spec);
        complete(&mut families, Some(Family::V4).filter(|_| cluster.is_empty()), cluster);
        families
            .extend(Family::ALL.into_iter().filter(|f| !families.contains(f)).collect::<Vec<_>>());
        spec["ipFamilies"] = texts(&families);
        return Ok(());
    }
    if spec["ipFamilyPolicy"].is_null() {
        let before = old.map_or(&Value::Null, |old| &old["ipFamilyPolicy"]);
        spec["ipFamilyPolicy"] =
            if before.is_null() { json!("SingleStack") } else { before.clone() };
    }
    let policy = spec["ipFamilyPolicy"].as_str().unwrap_or_default().to_owned();
    let mut families = named(spec);
    check_configured(&families, cluster, is_anybodys(spec))?;
    for (index, address) in addresses(spec).into_iter().enumerate() {
        match families.get(index) {
            None => families.push(Family::of(address)),
            Some(family) if *family == Family::of(address) => {}
            Some(family) => {
                let expected = format!(
                    "expected an {} value as indicated by `ipFamilies[{index}]`",
                    text(*family)
                );
                return Err(Refused::new(
                    format!("spec.clusterIPs[{index}]"),
                    address.to_string(),
                    expected,
                ));
            }
        }
    }
    complete(&mut families, None, cluster);
    match policy.as_str() {
        "SingleStack" if families.len() > 1 => return Err(Refused::new(POLICY, policy, MULTIPLE)),
        "RequireDualStack" if cluster.len() < 2 && !is_anybodys(spec) => {
            let why = "this cluster is not configured for dual-stack services";
            return Err(Refused::new(POLICY, policy, why));
        }
        "PreferDualStack" | "RequireDualStack" => {
            families.extend(
                cluster.iter().copied().filter(|f| !families.contains(f)).collect::<Vec<_>>(),
            );
        }
        _ => {}
    }
    spec["ipFamilies"] = texts(&families);
    Ok(())
}

/// The families a spec names, in its order. What is no family is for validation to refuse.
pub(super) fn named(spec: &Value) -> Vec<Family> {
    let names = spec["ipFamilies"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names
        .filter_map(|name| match name {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        })
        .collect()
}

/// The addresses a spec names, in its order.
pub(super) fn addresses(spec: &Value) -> Vec<IpAddr> {
    let texts = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Whether a spec says that the Service has no address.
pub(super) fn is_headless(spec: &Value) -> bool {
    spec["clusterIP"] == "None" || spec["clusterIPs"][0] == "None"
}

pub(super) fn text(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A Service without address and selector.
fn is_anybodys(spec: &Value) -> bool {
    is_headless(spec) && spec["selector"].as_object().is_none_or(serde_json::Map::is_empty)
}

/// A family that was one of two goes when the policy turns to one alone and nothing else changed.
fn downgrade(spec: &mut Value, old: Option<&Value>) {
    let Some(old) = old else { return };
    let was_double = old["ipFamilyPolicy"] != "SingleStack" && !old["ipFamilyPolicy"].is_null();
    if !was_double || spec["ipFamilyPolicy"] != "SingleStack" {
        return;
    }
    for field in ["ipFamilies", "clusterIPs"] {
        if spec[field] == old[field]
            && let Some(list) = spec[field].as_array_mut()
        {
            list.truncate(1);
        }
    }
}

fn check_configured(families: &[Family], cluster: &[Family], any: bool) -> Result<(), Refused> {
    for (index, family) in families.iter().enumerate() {
        if !cluster.contains(family) && !any {
            let field = format!("spec.ipFamilies[{index}]");
            return Err(Refused::new(field, text(*family), "not configured on this cluster"));
        }
    }
    Ok(())
}

/// Nobody asked for a family: the cluster's primary one.
fn complete(families: &mut Vec<Family>, last: Option<Family>, cluster: &[Family]) {
    if families.is_empty() {
        families.extend(cluster.first().copied().or(last));
    }
}

fn texts(families: &[Family]) -> Value {
    families.iter().map(|family| text(*family)).collect::<Vec<_>>().into()
}
