package clients

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// pod is a request for a subresource of the pod `web`.
func pod(t *testing.T, subresource string) *rest.Request {
	return client(t).CoreV1().RESTClient().Post().
		Namespace("default").Resource("pods").Name("web").SubResource(subresource)
}

// A command has its streams and its exit code, over either protocol.
func TestExec(t *testing.T) {
	request := pod(t, "exec").VersionedParams(&corev1.PodExecOptions{
		Stdin: true, Stdout: true, Stderr: true,
		Command: []string{"sh", "-c", "cat; echo late >&2; exit 3"},
	}, scheme.ParameterCodec)
	websocket, err := remotecommand.NewWebSocketExecutor(config(t), http.MethodGet, request.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(config(t), http.MethodPost, request.URL())
	if err != nil {
		t.Fatal(err)
	}
	for name, executor := range map[string]remotecommand.Executor{"websocket": websocket, "spdy": spdy} {
		t.Run(name, func(t *testing.T) {
			var out, late bytes.Buffer
			err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{
				Stdin: strings.NewReader("typed"), Stdout: &out, Stderr: &late,
			})
			code, ok := err.(exec.CodeExitError)
			if !ok || code.Code != 3 || out.String() != "typed" || late.String() != "late\n" {
				t.Fatalf("%q, %q, %v", out.String(), late.String(), err)
			}
		})
	}
}

// A port of a pod answers as if it were here, over either protocol.
func TestPortForward(t *testing.T) {
	url := pod(t, "portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config(t))
	if err != nil {
		t.Fatal(err)
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialer(url, config(t))
	if err != nil {
		t.Fatal(err)
	}
	dialers := map[string]httpstream.Dialer{
		"websocket": websocket,
		"spdy":      spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url),
	}
	for name, dialer := range dialers {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			forwarder, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- forwarder.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-ended:
				t.Fatal(err)
			}
			ports, err := forwarder.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/hello", ports[0].Local))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if err != nil || !strings.Contains(string(body), "GET /hello") {
				t.Fatalf("%q, %v", body, err)
			}
			answer.Body.Close()
			close(stop)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		})
	}
}
