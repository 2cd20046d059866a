// The allocator of the reference plugin host-local, asked line by line: the peer of the address pools.
//
//	new SUBNET HELD   a pool of its own in an empty directory, with so many leases held
//	pass COUNT        allocate and release so often; answers seconds
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"net"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/allocator"
	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/disk"
)

type pool struct {
	folder    string
	store     *disk.Store
	allocator *allocator.IPAllocator
}

func newPool(base, subnet string, held int) (*pool, error) {
	folder, err := os.MkdirTemp(base, "pool")
	if err != nil {
		return nil, err
	}
	store, err := disk.New("bench", folder)
	if err != nil {
		return nil, err
	}
	_, network, err := net.ParseCIDR(subnet)
	if err != nil {
		return nil, err
	}
	addresses := allocator.RangeSet{allocator.Range{Subnet: types.IPNet(*network)}}
	if err := addresses.Canonicalize(); err != nil {
		return nil, err
	}
	made := &pool{folder, store, allocator.NewIPAllocator(&addresses, store, 0)}
	for number := range held {
		if _, err := made.allocator.Get(fmt.Sprintf("held-%d", number), "eth0", nil); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (p *pool) pass(count int) (map[string]any, error) {
	began := time.Now()
	for number := range count {
		id := fmt.Sprintf("pod-%d", number)
		if _, err := p.allocator.Get(id, "eth0", nil); err != nil {
			return nil, err
		}
		if err := p.allocator.Release(id, "eth0"); err != nil {
			return nil, err
		}
	}
	return map[string]any{"seconds": time.Since(began).Seconds()}, nil
}

func run(base string) error {
	var made *pool
	defer func() {
		if made != nil {
			made.store.Close()
		}
	}()
	out := json.NewEncoder(os.Stdout)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var word, subnet string
		var count int
		answer := map[string]any{}
		var err error
		if _, bad := fmt.Sscanf(in.Text(), "new %s %d", &subnet, &count); bad == nil {
			made, err = newPool(base, subnet, count)
		} else if _, bad := fmt.Sscan(in.Text(), &word, &count); bad == nil && word == "pass" && made != nil {
			answer, err = made.pass(count)
		} else {
			err = fmt.Errorf("no command %q", in.Text())
		}
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return in.Err()
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: host-local FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil && err != io.EOF {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
