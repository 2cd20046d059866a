// The engine of kube-network-policies, asked line by line: the peer of PolicyEngine.
//
//	load PATH       objects, a JSON object in each line
//	questions PATH  "source destination protocol port" in each line
//	pass            decide them all; answers seconds
//	verdicts        answers 0 and 1, in their order
//	nfqueue NUMBER  from now on judge the packets of this queue, as it does on a node
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1alpha1"
	policyfake "sigs.k8s.io/network-policy-api/pkg/client/clientset/versioned/fake"
	policyinformers "sigs.k8s.io/network-policy-api/pkg/client/informers/externalversions"
)

type engine struct {
	controller *networkpolicy.Controller
	stores     map[string]cache.Store
	questions  []networkpolicy.Question
}

func newEngine() (*engine, error) {
	client, policyClient := fake.NewClientset(), policyfake.NewSimpleClientset()
	all := informers.NewSharedInformerFactory(client, 0)
	admin := policyinformers.NewSharedInformerFactory(policyClient, 0).Policy().V1alpha1()
	controller, err := networkpolicy.NewController(
		client, all.Networking().V1().NetworkPolicies(), all.Core().V1().Namespaces(),
		all.Core().V1().Pods(), all.Core().V1().Nodes(), policyClient,
		admin.AdminNetworkPolicies(), admin.BaselineAdminNetworkPolicies(),
		networkpolicy.Config{
			AdminNetworkPolicy: true, BaselineAdminNetworkPolicy: true, NodeName: "none", NRIdisabled: true,
		},
	)
	if err != nil {
		return nil, err
	}
	controller.WithoutRuntime()
	return &engine{controller: controller, stores: map[string]cache.Store{
		"NetworkPolicy":              all.Networking().V1().NetworkPolicies().Informer().GetStore(),
		"Namespace":                  all.Core().V1().Namespaces().Informer().GetStore(),
		"Pod":                        all.Core().V1().Pods().Informer().GetStore(),
		"Node":                       all.Core().V1().Nodes().Informer().GetStore(),
		"AdminNetworkPolicy":         admin.AdminNetworkPolicies().Informer().GetStore(),
		"BaselineAdminNetworkPolicy": admin.BaselineAdminNetworkPolicies().Informer().GetStore(),
	}}, nil
}

func (e *engine) load(path string) (map[string]any, error) {
	var objects []any
	var kinds []string
	err := lines(path, func(line string) error {
		var head struct{ Kind string }
		if err := json.Unmarshal([]byte(line), &head); err != nil {
			return err
		}
		object := blank(head.Kind)
		if object == nil {
			return fmt.Errorf("kind %q", head.Kind)
		}
		objects, kinds = append(objects, object), append(kinds, head.Kind)
		return json.Unmarshal([]byte(line), object)
	})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for index, object := range objects {
		if err := e.stores[kinds[index]].Add(object); err != nil {
			return nil, err
		}
	}
	took := time.Since(began).Seconds()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return map[string]any{"seconds": took, "bytes": memory.HeapAlloc, "objects": len(objects)}, nil
}

func blank(kind string) any {
	switch kind {
	case "NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "Namespace":
		return &corev1.Namespace{}
	case "Pod":
		return &corev1.Pod{}
	case "Node":
		return &corev1.Node{}
	case "AdminNetworkPolicy":
		return &policyv1.AdminNetworkPolicy{}
	case "BaselineAdminNetworkPolicy":
		return &policyv1.BaselineAdminNetworkPolicy{}
	}
	return nil
}

func (e *engine) read(path string) (map[string]any, error) {
	e.questions = nil
	err := lines(path, func(line string) error {
		var src, dst, protocol string
		var port int
		if _, err := fmt.Sscan(line, &src, &dst, &protocol, &port); err != nil {
			return err
		}
		e.questions = append(e.questions, networkpolicy.Question{
			Src: net.ParseIP(src), Dst: net.ParseIP(dst), Protocol: corev1.Protocol(protocol), Port: port,
		})
		return nil
	})
	return map[string]any{"questions": len(e.questions)}, err
}

func (e *engine) pass() (map[string]any, error) {
	allowed := 0
	began := time.Now()
	for _, question := range e.questions {
		if e.controller.Decide(context.Background(), question) {
			allowed++
		}
	}
	return map[string]any{"seconds": time.Since(began).Seconds(), "allowed": allowed}, nil
}

func (e *engine) verdicts() (map[string]any, error) {
	var said strings.Builder
	for _, question := range e.questions {
		if e.controller.Decide(context.Background(), question) {
			said.WriteByte('1')
		} else {
			said.WriteByte('0')
		}
	}
	return map[string]any{"verdicts": said.String()}, nil
}

func (e *engine) answer(command string) (map[string]any, error) {
	word, path, _ := strings.Cut(command, " ")
	switch word {
	case "load":
		return e.load(path)
	case "questions":
		return e.read(path)
	case "pass":
		return e.pass()
	case "verdicts":
		return e.verdicts()
	case "nfqueue":
		var queue uint16
		if _, err := fmt.Sscan(path, &queue); err != nil {
			return nil, err
		}
		return map[string]any{}, e.controller.Judge(context.Background(), queue)
	}
	return nil, fmt.Errorf("no command %q", word)
}

func lines(path string, each func(string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return scan(file, each)
}

func scan(from io.Reader, each func(string) error) error {
	found := bufio.NewScanner(from)
	found.Buffer(nil, 1<<20)
	for found.Scan() {
		if err := each(found.Text()); err != nil {
			return err
		}
	}
	return found.Err()
}

func main() {
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	made, err := newEngine()
	if err == nil {
		out := json.NewEncoder(os.Stdout)
		err = scan(os.Stdin, func(line string) error {
			answer, err := made.answer(line)
			if err != nil {
				return err
			}
			return out.Encode(answer)
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
