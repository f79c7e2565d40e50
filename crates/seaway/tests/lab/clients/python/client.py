"""Tests of a lab with the Python client, as people script it.

KUBECONFIG names the lab; a pod `web` that echoes is in it.
"""

import os
import sys
import threading
import time
import unittest
import uuid

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream

PATIENCE = 60


def config_map(name, **data):
    """A ConfigMap with these keys."""
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


class LabTest(unittest.TestCase):
    """A test with a namespace of its own."""

    def setUp(self):
        self.core = client.CoreV1Api()
        self.namespace = f"python-{uuid.uuid4().hex[:8]}"
        self.core.create_namespace({"metadata": {"name": self.namespace}})
        self.addCleanup(self.core.delete_namespace, self.namespace)

    def eventually(self, what, level):
        """Waits until `level` gives something true, and returns it."""
        until = time.monotonic() + PATIENCE
        while not (found := level()):
            self.assertLess(time.monotonic(), until, what)
            time.sleep(0.05)
        return found


class Objects(LabTest):
    """Objects are written, selected, watched and refused."""

    def test_a_watch_tells_what_is_written(self):
        version = self.core.list_namespaced_config_map(self.namespace).metadata.resource_version
        self.core.create_namespaced_config_map(self.namespace, config_map("a", v="1"))
        self.core.patch_namespaced_config_map("a", self.namespace, {"data": {"v": "2"}})
        self.core.delete_namespaced_config_map("a", self.namespace)
        watcher, seen = watch.Watch(), []
        for event in watcher.stream(
            self.core.list_namespaced_config_map,
            self.namespace,
            resource_version=version,
            field_selector="metadata.name=a",
            timeout_seconds=PATIENCE,
        ):
            seen.append((event["type"], event["object"].data["v"]))
            if event["type"] == "DELETED":
                watcher.stop()
        self.assertEqual(seen, [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")])

    def test_refusals_say_why(self):
        with self.assertRaises(ApiException) as missing:
            self.core.read_namespaced_config_map("nobody", self.namespace)
        self.assertEqual((missing.exception.status, missing.exception.reason), (404, "Not Found"))
        with self.assertRaises(ApiException) as invalid:
            self.core.create_namespaced_config_map(self.namespace, config_map("Wrong"))
        self.assertEqual(invalid.exception.status, 422)
        self.assertIn("metadata.name: Invalid value", invalid.exception.body)

    def test_pages_are_one_list(self):
        names = self.core.list_namespaced_config_map
        self.eventually("every namespace has the authority", lambda: names(self.namespace).items)
        for n in range(5):
            self.core.create_namespaced_config_map(self.namespace, config_map(f"page-{n}"))
        names, token = [], None
        while token != "":
            page = self.core.list_namespaced_config_map(self.namespace, limit=2, _continue=token)
            names += [item.metadata.name for item in page.items]
            token = page.metadata._continue or ""
        self.assertEqual(names, ["kube-root-ca.crt", *(f"page-{n}" for n in range(5))])

    def test_manifests_run_and_scale(self):
        labels = {"app": "made"}
        container = {"name": "main", "image": "seaway/echo"}
        utils.create_from_dict(
            client.ApiClient(),
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "made", "namespace": self.namespace},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
                },
            },
        )
        apps = client.AppsV1Api()
        scale = {"spec": {"replicas": 2}}
        apps.patch_namespaced_deployment_scale("made", self.namespace, scale)

        def both():
            status = apps.read_namespaced_deployment_status("made", self.namespace).status
            return status.ready_replicas == 2

        self.eventually("two replicas are ready", both)


class Dynamic(LabTest):
    """Kinds are found by discovery, custom ones too, and applied on the server."""

    def test_objects_are_applied_with_owners(self):
        maps = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")

        def apply(manager, color, **options):
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "shared", "namespace": self.namespace},
                "data": {"color": color},
            }
            return maps.server_side_apply(body=body, field_manager=manager, **options)

        apply("first", "red")
        with self.assertRaises(dynamic.exceptions.ConflictError) as conflict:
            apply("second", "blue")
        self.assertIn('conflict with \\"first\\"', conflict.exception.body)
        self.assertEqual(apply("second", "blue", force_conflicts=True).data.color, "blue")

    def test_custom_kinds_are_used_like_others(self):
        group = f"{self.namespace}.example.com"
        open_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        definitions = client.ApiextensionsV1Api()
        definitions.create_custom_resource_definition(
            {
                "metadata": {"name": f"lamps.{group}"},
                "spec": {
                    "group": group,
                    "scope": "Namespaced",
                    "names": {"plural": "lamps", "kind": "Lamp"},
                    "versions": [
                        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": open_object}}
                    ],
                },
            }
        )
        self.addCleanup(definitions.delete_custom_resource_definition, f"lamps.{group}")

        def established():
            status = definitions.read_custom_resource_definition(f"lamps.{group}").status
            conditions = status.conditions or []
            return any(c.type == "Established" and c.status == "True" for c in conditions)

        self.eventually("the kind is served", established)
        lamps = client.CustomObjectsApi()
        lamp = {"apiVersion": f"{group}/v1", "kind": "Lamp", "metadata": {"name": "a"}, "spec": {"on": True}}
        lamps.create_namespaced_custom_object(group, "v1", self.namespace, "lamps", lamp)
        found = lamps.get_namespaced_custom_object(group, "v1", self.namespace, "lamps", "a")
        self.assertTrue(found["spec"]["on"])


class Streams(LabTest):
    """Commands and ports of pods over WebSocket."""

    def test_a_command_has_its_streams_and_its_code(self):
        command = ["sh", "-c", "read x; echo got $x; echo late >&2; exit 3"]
        process = stream(
            self.core.connect_get_namespaced_pod_exec,
            "web",
            "default",
            command=command,
            stdin=True,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        process.write_stdin("word\n")
        process.run_forever(timeout=PATIENCE)
        self.assertEqual(process.read_stdout(), "got word\n")
        self.assertEqual(process.read_stderr(), "late\n")
        self.assertEqual(process.returncode, 3)

    def test_a_port_answers_as_if_it_were_here(self):
        ports = portforward(self.core.connect_get_namespaced_pod_portforward, "web", "default", ports="8080")
        connection = ports.socket(8080)
        connection.settimeout(PATIENCE)
        connection.sendall(b"GET /hello HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)
        self.assertIn(b"GET /hello", answer)
        self.assertIsNone(ports.error(8080))

    def test_a_log_is_read(self):
        self.core.create_namespaced_pod(
            self.namespace,
            {
                "metadata": {"name": "talker"},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "main", "image": "seaway/shell", "command": ["echo", "hello"]}],
                },
            },
        )

        def over():
            return self.core.read_namespaced_pod_status("talker", self.namespace).status.phase == "Succeeded"

        self.eventually("it has spoken", over)
        self.assertEqual(self.core.read_namespaced_pod_log("talker", self.namespace), "hello\n")


class Elections(LabTest):
    """One of those who want to leads."""

    def test_a_lease_makes_a_leader(self):
        leads = threading.Event()
        lock = LeaseLock("lead", self.namespace, "me")
        election = electionconfig.Config(
            lock,
            lease_duration=10,
            renew_deadline=5,
            retry_period=1,
            onstarted_leading=leads.set,
            onstopped_leading=None,
        )
        candidate = threading.Thread(target=leaderelection.LeaderElection(election).run, daemon=True)
        candidate.start()
        self.assertTrue(leads.wait(PATIENCE))
        lease = client.CoordinationV1Api().read_namespaced_lease("lead", self.namespace)
        self.assertEqual(lease.spec.holder_identity, "me")


if __name__ == "__main__":
    config.load_kube_config()
    tests = unittest.main(verbosity=2, exit=False)
    sys.stdout.flush()
    sys.stderr.flush()
    # The candidate goes on, and an interpreter that takes itself apart aborts when a thread prints.
    os._exit(not tests.result.wasSuccessful())
