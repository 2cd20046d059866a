// Command ocicni attaches and detaches one pod by ocicni, the library that is CRI-O's network side.
//
// Usage: ocicni attach|status|detach|gc NETWORK PLUGIN_DIR < pods.json
//
// Standard input is a JSON list of ocicni.PodNetwork: one for attach, status (which sends CHECK) and
// detach, all that are still valid for gc. Prints the results' addresses as a JSON list.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/cri-o/ocicni/pkg/ocicni"
)

const confDir = "/etc/cni/net.d"

func addresses(results []ocicni.NetResult) ([]string, error) {
	found := []string{}
	for _, one := range results {
		result, err := current.NewResultFromResult(one.Result)
		if err != nil {
			return nil, err
		}
		for _, ip := range result.IPs {
			found = append(found, ip.Address.IP.String())
		}
	}
	return found, nil
}

func run(verb, network, pluginDir string) error {
	var pods []*ocicni.PodNetwork
	if err := json.NewDecoder(os.Stdin).Decode(&pods); err != nil {
		return err
	}
	plugin, err := ocicni.InitCNI(network, confDir, pluginDir)
	if err != nil {
		return err
	}
	defer plugin.Shutdown()
	if err := plugin.Status(); err != nil {
		return err
	}
	var results []ocicni.NetResult
	switch verb {
	case "attach":
		results, err = plugin.SetUpPod(*pods[0])
	case "status":
		results, err = plugin.GetPodNetworkStatus(*pods[0])
	case "detach":
		err = plugin.TearDownPod(*pods[0])
	case "gc":
		err = plugin.GC(context.Background(), pods)
	default:
		err = fmt.Errorf("verb %q: attach, status, detach or gc", verb)
	}
	if err != nil {
		return err
	}
	found, err := addresses(results)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: ocicni attach|status|detach|gc NETWORK PLUGIN_DIR < pods.json")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
