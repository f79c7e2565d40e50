//! A stage of the suites in a lab: its pods serve at all its ports, what a case says is done through the
//! API, and everybody asks everybody.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use fixtures::policies::definition::definitions;
use fixtures::policies::{Case, Play, Stage, Step, namespace, placed, put, reaches, remove};
use kernel::netns::Netns;
use model::{Family, NodeName, ObjectName, Protocol, World};
use serde_json::{Value, json};

use super::ask::{ANSWER, Notice, Question, ask_for};
use super::cluster::Cluster;
use crate::lab::{Lab, eventually};
use crate::service_stories::restart_agent;
use crate::services::serve::Server;
use crate::services::stage::Place;

/// How long an answer is waited for at first.
const FIRST: Duration = Duration::from_millis(150);

/// What each client should notice: whether it is answered.
type Wanted = BTreeMap<String, Vec<(Question, bool)>>;

/// The stage, and what has happened on it.
pub(crate) struct Staged {
    cluster: Cluster,
    play: Play,
    /// What there was in the beginning.
    home: World,
    /// Pods and nodes.
    places: BTreeMap<String, (Netns, Vec<Server>)>,
    /// What was noticed last.
    noticed: BTreeMap<(String, Question), bool>,
    lab: Lab,
}

impl Staged {
    /// A lab with these flags and the pods of `stage`.
    pub(crate) fn up(stage: Stage, flags: &[&str]) -> Staged {
        let mut objects: Vec<Value> = definitions().into();
        let (mut pods, mut so_far) = (Vec::new(), World::default());
        for space in stage.namespaces {
            objects.push(typed(namespace(space)));
            for pod in stage.pods {
                let pod = stage.pod(&so_far, space, pod);
                put(&mut so_far, &pod);
                pods.push(runnable(pod));
            }
        }
        objects.extend(pods);
        let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
        let flags = [&["--nodes", "3"], flags].concat();
        let lab = Lab::up_with(&flags, &documents.join("\n---\n"));
        // Definitions that come later than an agent are noticed within half a minute; the next one finds them.
        Stage::node_names().for_each(|node| restart_agent(&lab, &node));
        let play = Play::new(stage, Family::V4);
        let cluster = Cluster::of(&lab);
        let (places, noticed) = (BTreeMap::new(), BTreeMap::new());
        let mut staged = Staged { cluster, home: play.world.clone(), play, places, noticed, lab };
        staged.take_places();
        staged
    }

    fn take_places(&mut self) {
        for node in Stage::node_names() {
            self.take(&json!({"kind": "Node", "metadata": {"name": node}}));
            self.serve(&node);
        }
        for pod in self.play.stage.pod_names() {
            self.take(&pod_named(&pod));
            self.serve(&pod);
        }
        self.home = self.play.world.clone();
    }

    /// Takes an object as the API has it.
    fn take(&mut self, object: &Value) {
        let there = self.cluster.find(object).unwrap_or_else(|| panic!("no {object}"));
        put(&mut self.play.world, &there);
    }

    /// Has a pod or a node answer at the ports of the stage, at addresses that are its own.
    fn serve(&mut self, name: &str) {
        let netns = Place::find(&self.lab, name).netns;
        let addrs: Vec<_> = match name.split_once('/') {
            Some((space, pod)) => self.play.world.pods[&ObjectName::new(space, pod)].addrs.clone(),
            None => self.play.world.nodes[&NodeName::from(name)].ips().collect(),
        };
        let server = |(protocol, port): &(Protocol, u16)| {
            let at: Vec<_> = addrs.iter().map(|addr| SocketAddr::new(*addr, *port)).collect();
            Server::start_at(&netns, *protocol, &at, name)
        };
        let servers = self.play.stage.ports.iter().map(server).collect();
        self.places.insert(name.to_owned(), (netns, servers));
    }

    /// Plays `case`, and leaves the stage as it was. Policies name addresses of `family`.
    pub(crate) fn perform(&mut self, case: &Case, family: Family) {
        self.play.family = family;
        for (number, step) in case.steps.iter().enumerate() {
            let title = format!("{}, step {number}", case.name);
            match step {
                Step::Reach(protocol, port, said) => self.look(&title, &[(*protocol, *port)], said),
                Step::Everything => self.look(&title, self.play.stage.ports, ""),
                Step::Put(object) => self.put(object),
                Step::Join(name) => self.join(name),
                Step::Remove(object) => self.remove(object),
                Step::Label(of, labels) => self.label(of, labels),
            }
        }
        self.reset();
    }

    fn put(&mut self, object: &Value) {
        let object = placed(&self.play.world, self.play.family, object);
        self.cluster.put(&object);
        put(&mut self.play.world, &object);
    }

    fn join(&mut self, name: &str) {
        let (space, pod) = name.split_once('/').expect("NAMESPACE/NAME");
        let pod = runnable(self.play.stage.pod(&self.play.world, space, pod));
        self.cluster.put(&pod);
        let there = eventually("a pod runs", || match self.cluster.find(&pod) {
            Some(there) if there["status"]["podIPs"][1]["ip"].is_string() => Ok(there),
            other => Err(other),
        });
        put(&mut self.play.world, &there);
        self.serve(name);
    }

    fn remove(&mut self, object: &Value) {
        self.cluster.remove(object);
        remove(&mut self.play.world, object);
        let pods = &self.play.world.pods;
        let is_there = |name: &str| match name.split_once('/') {
            Some((space, pod)) => pods.contains_key(&ObjectName::new(space, pod)),
            None => true,
        };
        self.places.retain(|name, _| is_there(name));
    }

    fn label(&mut self, of: &str, labels: &Value) {
        let object = match of.contains('/') {
            true => pod_named(of),
            false => namespace_named(of),
        };
        self.cluster.label(&object, labels);
        self.take(&object);
    }

    /// What a case has left goes, and what it has changed is changed back.
    fn reset(&mut self) {
        let World { policies, cluster_policies, pods, namespaces, .. } = self.play.world.clone();
        for name in policies.keys() {
            let metadata = json!({"namespace": *name.namespace, "name": *name.name});
            let version = "networking.k8s.io/v1";
            self.remove(
                &json!({"apiVersion": version, "kind": "NetworkPolicy", "metadata": metadata}),
            );
        }
        for name in cluster_policies.keys() {
            let version = "policy.networking.k8s.io/v1alpha2";
            let metadata = json!({"name": *name.name});
            self.remove(
                &json!({"apiVersion": version, "kind": name.kind.as_str(), "metadata": metadata}),
            );
        }
        let home = self.home.clone();
        for (name, pod) in &pods {
            let title = name.to_string();
            match home.pods.get(name) {
                None => self.remove(&pod_named(&title)),
                Some(before) if before.labels != pod.labels => {
                    self.label(&title, &json!({"pod": *name.name}));
                }
                Some(_) => {}
            }
        }
        for (name, namespace) in &namespaces {
            match home.namespaces.get(name) {
                None => self.remove(&namespace_named(name)),
                Some(before) if before != namespace => self.label(name, &json!({"ns": **name})),
                Some(_) => {}
            }
        }
    }

    /// Everybody asks everybody, in both families, until all is as it is `said`, and as the specifications
    /// have it where nothing is said.
    fn look(&mut self, title: &str, ports: &[(Protocol, u16)], said: &str) {
        let (mut changed, mut same) = (Wanted::new(), Wanted::new());
        for (protocol, port) in ports {
            for family in Family::ALL {
                for (from, to, flow) in self.play.flows_of(family, *protocol, *port) {
                    let told = reaches(said, &from, &to)
                        .filter(|_| ports.len() == 1 && family == self.play.family);
                    let want = told.unwrap_or_else(|| self.play.allows(&flow));
                    let to = SocketAddr::new(flow.packet.dst, *port);
                    let question = Question { protocol: *protocol, to };
                    let before = self.noticed.insert((from.clone(), question), want);
                    let list = if before == Some(want) { &mut same } else { &mut changed };
                    list.entry(from).or_default().push((question, want));
                }
            }
        }
        // Once all that changes has, the rest is what it stays.
        self.hold(title, changed);
        self.hold(title, same);
    }

    fn hold(&self, title: &str, mut wanted: Wanted) {
        // What has changed a moment ago is soon there: who asks too early asks again, and waits longer.
        let mut patience = FIRST;
        eventually(title, || {
            let mut wrong = Vec::new();
            wanted = thread::scope(|scope| {
                let ask = |(from, questions): (String, Vec<(Question, bool)>)| {
                    let netns = &self.places[&from].0;
                    scope.spawn(move || (ask_for(netns, &questions, patience), from, questions))
                };
                let asked: Vec<_> = std::mem::take(&mut wanted).into_iter().map(ask).collect();
                let mut left = Wanted::new();
                for client in asked {
                    let (notices, from, questions) = client.join().expect("a client panicked");
                    for (notice, question) in notices.into_iter().zip(questions) {
                        let is_answered = match notice {
                            Notice::Answer => true,
                            Notice::Silence => false,
                            Notice::Refused => panic!("{title}: {from} is refused: {question:?}"),
                        };
                        if is_answered != question.1 {
                            wrong.push(format!("{from}: {question:?}"));
                            left.entry(from.clone()).or_default().push(question);
                        }
                    }
                }
                left
            });
            patience = (patience * 2).min(ANSWER);
            if wrong.is_empty() { Ok(()) } else { Err(wrong) }
        });
    }
}

/// A pod of a stage as a lab starts it: its ports are served from outside of its container.
fn runnable(pod: Value) -> Value {
    let mut pod = typed(pod);
    pod.as_object_mut().expect("an object").remove("status");
    let spec = &mut pod["spec"];
    spec["terminationGracePeriodSeconds"] = json!(0);
    spec["containers"][0]["name"] = json!("main");
    spec["containers"][0]["image"] = json!("seaway/shell");
    pod
}

fn typed(mut object: Value) -> Value {
    object["apiVersion"] = json!("v1");
    object
}

fn pod_named(name: &str) -> Value {
    let (space, name) = name.split_once('/').expect("NAMESPACE/NAME");
    json!({"kind": "Pod", "metadata": {"namespace": space, "name": name}})
}

fn namespace_named(name: &str) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": name}})
}
