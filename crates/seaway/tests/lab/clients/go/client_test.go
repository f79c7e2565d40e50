// Tests of a lab with client-go, as controllers use it: typed clients that send protobuf, informers,
// server-side apply, leader election. KUBECONFIG names the lab; a pod `web` that echoes is in it.
package clients

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

const patience = 60 * time.Second

// config is how the lab is reached, in protobuf where a kind has it, as fast as the lab answers.
func config(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.QPS = -1
	return config
}

func client(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	return kubernetes.NewForConfigOrDie(config(t))
}

// namespace is a new one, which goes with the test.
func namespace(t *testing.T, client *kubernetes.Clientset) string {
	t.Helper()
	name := strings.ToLower(t.Name())
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	return name
}

// eventually waits until level holds.
func eventually(t *testing.T, what string, level func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true,
		func(context.Context) (bool, error) { return level(), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// line is a cable to the server that can be cut, and counts the requests that hold a word.
type line struct {
	http.RoundTripper
	cut   atomic.Bool
	lock  sync.Mutex
	ends  []context.CancelFunc
	lists atomic.Int32
	calls atomic.Int32
}

func (l *line) RoundTrip(request *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		return nil, errors.New("the line is cut")
	}
	query := request.URL.Query()
	if query.Get("sendInitialEvents") == "true" {
		l.lists.Add(1)
	}
	l.calls.Add(1)
	ctx, end := context.WithCancel(request.Context())
	l.lock.Lock()
	l.ends = append(l.ends, end)
	l.lock.Unlock()
	return l.RoundTripper.RoundTrip(request.WithContext(ctx))
}

// sever ends what is on the way and lets nothing more pass.
func (l *line) sever() {
	l.cut.Store(true)
	l.lock.Lock()
	defer l.lock.Unlock()
	for _, end := range l.ends {
		end()
	}
}

// An informer lists by a stream, follows changes, and after the server has forgotten where it was
// starts again and misses nothing.
func TestInformer(t *testing.T) {
	clients := client(t)
	in := namespace(t, clients)
	line := &line{}
	cut := config(t)
	cut.Wrap(func(inner http.RoundTripper) http.RoundTripper {
		line.RoundTripper = inner
		return line
	})
	factory := informers.NewSharedInformerFactoryWithOptions(
		kubernetes.NewForConfigOrDie(cut), 0, informers.WithNamespace(in))
	informer := factory.Core().V1().ConfigMaps()
	var removed atomic.Int32
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(any) { removed.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer factory.Shutdown()
	defer close(stop)
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	if line.lists.Load() != 1 {
		t.Errorf("%d streams of initial events", line.lists.Load())
	}

	maps := clients.CoreV1().ConfigMaps(in)
	write := func(name, value string) {
		apply := applycorev1.ConfigMap(name, in).WithData(map[string]string{"v": value})
		_, err := maps.Apply(t.Context(), apply, metav1.ApplyOptions{FieldManager: "test"})
		if err != nil {
			t.Error(err)
		}
	}
	holds := func(name, value string) func() bool {
		return func() bool {
			found, err := informer.Lister().ConfigMaps(in).Get(name)
			return err == nil && found.Data["v"] == value
		}
	}
	write("a", "1")
	write("b", "1")
	eventually(t, "a is seen", holds("a", "1"))
	write("a", "2")
	eventually(t, "a is seen to change", holds("a", "2"))

	line.sever()
	if err := maps.Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// More events than the server remembers of a kind.
	var writers sync.WaitGroup
	for _, name := range []string{"w", "x", "y", "z"} {
		writers.Go(func() {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
			object, err := maps.Create(t.Context(), object, metav1.CreateOptions{})
			for n := 0; err == nil && n < 2100; n++ {
				object.Data = map[string]string{"n": time.Duration(n).String()}
				object, err = maps.Update(t.Context(), object, metav1.UpdateOptions{})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	write("a", "3")
	line.cut.Store(false)
	eventually(t, "a is seen again", holds("a", "3"))
	eventually(t, "b is seen to be gone", func() bool { return removed.Load() == 1 })
	if line.lists.Load() < 2 {
		t.Error("it went on where it was: the server has not forgotten")
	}
}

// A field that somebody else has applied is a conflict, until it is forced.
func TestServerSideApply(t *testing.T) {
	clients := client(t)
	in := namespace(t, clients)
	maps := clients.CoreV1().ConfigMaps(in)
	apply := func(manager, value string, force bool) error {
		object := applycorev1.ConfigMap("shared", in).WithData(map[string]string{"color": value})
		_, err := maps.Apply(t.Context(), object, metav1.ApplyOptions{FieldManager: manager, Force: force})
		return err
	}
	if err := apply("first", "red", false); err != nil {
		t.Fatal(err)
	}
	if err := apply("second", "blue", false); !apierrors.IsConflict(err) ||
		!strings.Contains(err.Error(), `conflict with "first"`) {
		t.Fatalf("not a conflict: %v", err)
	}
	if err := apply("second", "blue", true); err != nil {
		t.Fatal(err)
	}
	object, err := maps.Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	extracted, err := applycorev1.ExtractConfigMap(object, "second")
	if err != nil || extracted.Data["color"] != "blue" {
		t.Fatalf("what second owns is %v, %v", extracted, err)
	}
}

// Objects are written as Go's types, in protobuf, with what the server gave back in them.
func TestTypedWrites(t *testing.T) {
	clients := client(t)
	in := namespace(t, clients)
	labels := map[string]string{"app": "typed"}
	replicas := int32(2)
	deployments := clients.AppsV1().Deployments(in)
	deployment, err := deployments.Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "typed"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "main", Image: "seaway/echo",
					Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stale := deployment.DeepCopy()
	// The lab's controllers write it too.
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		deployment, err := deployments.Get(t.Context(), "typed", metav1.GetOptions{})
		if err != nil {
			return err
		}
		deployment.Annotations = map[string]string{"note": "hello"}
		_, err = deployments.Update(t.Context(), deployment, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stale.Annotations = map[string]string{"note": "late"}
	if _, err = deployments.Update(t.Context(), stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Fatalf("not a conflict: %v", err)
	}
	eventually(t, "both run", func() bool {
		now, err := deployments.Get(t.Context(), "typed", metav1.GetOptions{})
		return err == nil && now.Status.ReadyReplicas == 2
	})

	scale, err := deployments.GetScale(t.Context(), "typed", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 2 || scale.Status.Selector != "app=typed" {
		t.Fatalf("scale is %v, %v", scale, err)
	}
	scale.Spec = autoscalingv1.ScaleSpec{Replicas: 1}
	if _, err = deployments.UpdateScale(t.Context(), "typed", scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	running := func() []corev1.Pod {
		pods, err := clients.CoreV1().Pods(in).List(t.Context(), metav1.ListOptions{LabelSelector: "app=typed", Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if pods.Continue != "" {
			return nil
		}
		return pods.Items
	}
	eventually(t, "one is left", func() bool { return len(running()) == 1 })
	left := running()[0].Name
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: left, Namespace: in}}
	if err = clients.CoreV1().Pods(in).EvictV1(t.Context(), eviction); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another one runs", func() bool {
		pods := running()
		return len(pods) == 1 && pods[0].Name != left
	})
}

// Kinds are found by discovery, and read without their types or without their contents.
func TestDynamicAndMetadata(t *testing.T) {
	clients := client(t)
	in := namespace(t, clients)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(clients.Discovery()))
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"})
	if err != nil {
		t.Fatal(err)
	}
	plain := config(t)
	plain.ContentType, plain.AcceptContentTypes = "application/json", ""
	policies := dynamic.NewForConfigOrDie(plain).Resource(mapping.Resource).Namespace(in)
	_, err = policies.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
		"metadata": map[string]any{"name": "none"}, "spec": map[string]any{"podSelector": map[string]any{}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shapes := metadata.NewForConfigOrDie(config(t)).Resource(mapping.Resource).Namespace(in)
	list, err := shapes.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Kind != "PartialObjectMetadata" {
		t.Fatalf("listed %v, %v", list, err)
	}
	watch, err := shapes.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if err = policies.Delete(t.Context(), "none", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	event := <-watch.ResultChan()
	shape, ok := event.Object.(*metav1.PartialObjectMetadata)
	if !ok || event.Type != "DELETED" || shape.Name != "none" {
		t.Fatalf("watched %v", event)
	}
}

// Of two candidates one leads, and the other follows when it steps down.
func TestLeaderElection(t *testing.T) {
	clients := client(t)
	in := namespace(t, clients)
	leads := make(chan string, 2)
	candidate := func(ctx context.Context, name string) {
		lock, err := resourcelock.New(resourcelock.LeasesResourceLock, in, "lead",
			clients.CoreV1(), clients.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: name})
		if err != nil {
			t.Error(err)
			return
		}
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, ReleaseOnCancel: true, Name: "lead",
			LeaseDuration: 10 * time.Second, RenewDeadline: 5 * time.Second, RetryPeriod: 200 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leads <- name },
				OnStoppedLeading: func() {},
			},
		})
	}
	var candidates sync.WaitGroup
	defer candidates.Wait()
	first, stepDown := context.WithCancel(t.Context())
	candidates.Go(func() { candidate(first, "first") })
	if name := <-leads; name != "first" {
		t.Fatalf("%s leads", name)
	}
	second, end := context.WithCancel(t.Context())
	defer end()
	candidates.Go(func() { candidate(second, "second") })
	stepDown()
	if name := <-leads; name != "second" {
		t.Fatalf("%s leads", name)
	}
}
