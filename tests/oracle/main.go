// Command oracle answers, by the Go libraries of the CNI project, the questions that
// tests/unit/cni asks of our own code: one JSON object a line in, one a line out.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// question is one line of input; which fields count depends on Op.
type question struct {
	Op   string          `json:"op"`
	From string          `json:"from"`
	To   string          `json:"to"`
	Text string          `json:"text"`
	JSON json.RawMessage `json:"json"`
}

type answer struct {
	OK    any    `json:"ok"`
	Error string `json:"error,omitempty"`
}

// podArgs are the keys of CNI_ARGS that we know, as a plugin in Go declares them.
type podArgs struct {
	types.CommonArgs
	IP, MAC, GATEWAY                types.UnmarshallableString
	K8S_POD_NAME, K8S_POD_NAMESPACE types.UnmarshallableString
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 8<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, "not a question:", err)
			os.Exit(2)
		}
		ok, err := ask(q)
		a := answer{OK: ok}
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := out.Encode(a); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
}

func ask(q question) (any, error) {
	switch q.Op {
	case "convert":
		return convert(q)
	case "netconf":
		return netconf(q.JSON)
	case "conflist":
		return conflist(q.JSON)
	case "args":
		return args(q.Text)
	case "containerid":
		return q.Text, asError(utils.ValidateContainerID(q.Text))
	case "ifname":
		return q.Text, asError(utils.ValidateInterfaceName(q.Text))
	case "network":
		return q.Text, asError(utils.ValidateNetworkName(q.Text))
	case "mac":
		mac, err := net.ParseMAC(q.Text)
		return mac.String(), err
	case "cidr":
		cidr, err := types.ParseCIDR(q.Text)
		if err != nil {
			return nil, err
		}
		return cidr.String(), nil
	case "ip":
		if ip := net.ParseIP(q.Text); ip != nil {
			return ip.String(), nil
		}
		return nil, fmt.Errorf("not an address")
	}
	return nil, fmt.Errorf("unknown question %q", q.Op)
}

func convert(q question) (any, error) {
	result, err := create.Create(q.From, q.JSON)
	if err != nil {
		return nil, err
	}
	return result.GetAsVersion(q.To)
}

// netconf decodes a plugin's configuration and its prevResult.
func netconf(data []byte) (any, error) {
	conf := types.PluginConf{}
	if err := json.Unmarshal(data, &conf); err != nil {
		return nil, err
	}
	found := map[string]any{
		"name": conf.Name, "type": conf.Type, "cniVersion": conf.CNIVersion, "dns": conf.DNS,
		"capabilities": conf.Capabilities, "validAttachments": conf.ValidAttachments,
	}
	if err := version.ParsePrevResult(&conf); err != nil {
		return nil, err
	}
	found["prevResult"] = conf.PrevResult
	return found, nil
}

func conflist(data []byte) (any, error) {
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	plugins := []string{}
	for _, plugin := range list.Plugins {
		plugins = append(plugins, plugin.Network.Type)
	}
	return map[string]any{
		"name": list.Name, "cniVersion": list.CNIVersion, "plugins": plugins,
		"disableCheck": list.DisableCheck, "disableGC": list.DisableGC,
		"loadOnlyInlinedPlugins": list.LoadOnlyInlinedPlugins,
	}, nil
}

func args(text string) (any, error) {
	found := podArgs{}
	if err := types.LoadArgs(text, &found); err != nil {
		return nil, err
	}
	return map[string]string{
		"IP": string(found.IP), "MAC": string(found.MAC), "GATEWAY": string(found.GATEWAY),
		"K8S_POD_NAME":      string(found.K8S_POD_NAME),
		"K8S_POD_NAMESPACE": string(found.K8S_POD_NAMESPACE),
	}, nil
}

// asError keeps a nil *types.Error from becoming an error that is not nil.
func asError(err *types.Error) error {
	if err == nil {
		return nil
	}
	return err
}
