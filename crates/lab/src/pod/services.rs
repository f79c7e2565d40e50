//! Where Services are, as a container's environment tells it.

use k8s_openapi::api::core::v1::Service;

/// What tells a container where the `services` are that have a cluster address.
///
/// Source: kubelet `envvars.FromServices`.
pub(super) fn variables<'a>(services: impl Iterator<Item = &'a Service>) -> Vec<(String, String)> {
    let upper = |name: &str| name.replace('-', "_").to_ascii_uppercase();
    let mut env = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref() else { continue };
        let Some(first) = spec.ports.iter().flatten().next() else { continue };
        if ip.is_empty() || ip == "None" {
            continue;
        }
        let name = upper(service.metadata.name.as_deref().unwrap_or_default());
        let mut set = |key: String, value: String| env.push((key, value));
        set(format!("{name}_SERVICE_HOST"), ip.to_owned());
        set(format!("{name}_SERVICE_PORT"), first.port.to_string());
        for port in spec.ports.iter().flatten() {
            if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                set(format!("{name}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string());
            }
        }
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let (small, number) = (protocol.to_ascii_lowercase(), port.port);
            let url = format!("{small}://{host}:{number}");
            if index == 0 {
                set(format!("{name}_PORT"), url.clone());
            }
            let prefix = format!("{name}_PORT_{number}_{}", protocol.to_ascii_uppercase());
            set(prefix.clone(), url);
            set(format!("{prefix}_PROTO"), small);
            set(format!("{prefix}_PORT"), number.to_string());
            set(format!("{prefix}_ADDR"), ip.to_owned());
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_with_an_address_are_told_in_the_environment() {
        let service = |name: &str, ip: &str| -> Service {
            serde_json::from_value(json!({"metadata": {"name": name},
                "spec": {"clusterIP": ip, "ports": [
                    {"name": "web-ui", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}}))
            .unwrap()
        };
        let services =
            [service("my-db", "fd00::1"), service("headless", "None"), service("later", "")];
        let env = variables(services.iter());
        let lines: Vec<_> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            lines,
            [
                "MY_DB_SERVICE_HOST=fd00::1",
                "MY_DB_SERVICE_PORT=80",
                "MY_DB_SERVICE_PORT_WEB_UI=80",
                "MY_DB_SERVICE_PORT_DNS=53",
                "MY_DB_PORT=tcp://[fd00::1]:80",
                "MY_DB_PORT_80_TCP=tcp://[fd00::1]:80",
                "MY_DB_PORT_80_TCP_PROTO=tcp",
                "MY_DB_PORT_80_TCP_PORT=80",
                "MY_DB_PORT_80_TCP_ADDR=fd00::1",
                "MY_DB_PORT_53_UDP=udp://[fd00::1]:53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_ADDR=fd00::1",
            ]
        );
    }
}
