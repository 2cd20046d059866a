// Put into the package of the engine by `build`: it decides packets and offers no way to ask it.

package networkpolicy

import (
	"context"
	"net"

	v1 "k8s.io/api/core/v1"
)

// Question is one connection.
type Question struct {
	Src, Dst net.IP
	Protocol v1.Protocol
	Port     int
}

// WithoutRuntime lets it find pods by what the API server says of them only; else it asks a container
// runtime for those it does not find, which is not there.
func (c *Controller) WithoutRuntime() {
	c.nriPlugin = &nriPlugin{podIPMap: map[string]string{}}
}

// Decide tells whether the first packet of a connection passes.
func (c *Controller) Decide(ctx context.Context, q Question) bool {
	family := v1.IPv4Protocol
	if q.Src.To4() == nil {
		family = v1.IPv6Protocol
	}
	return c.evaluatePacket(ctx, packet{
		family: family, srcIP: q.Src, dstIP: q.Dst, proto: q.Protocol, srcPort: 40000, dstPort: q.Port,
	})
}
