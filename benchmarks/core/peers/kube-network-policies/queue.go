// Put into the package of the engine by `build`: its way of judging packets, without its watches.

package networkpolicy

import (
	"context"
	"time"

	nfqueue "github.com/florianl/go-nfqueue"
)

// Judge answers for the packets of a queue, with the settings of Run.
func (c *Controller) Judge(ctx context.Context, queue uint16) error {
	opened, err := nfqueue.Open(&nfqueue.Config{
		NfQueue: queue, Flags: nfqueue.NfQaCfgFlagGSO, MaxPacketLen: 128, MaxQueueLen: 1024,
		Copymode: nfqueue.NfQnlCopyPacket, WriteTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	return opened.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
		verdict := nfqueue.NfDrop
		if found, err := parsePacket(*a.Payload); err == nil && c.evaluatePacket(ctx, found) {
			verdict = nfqueue.NfAccept
		}
		opened.SetVerdict(*a.PacketID, verdict) //nolint:errcheck
		return 0
	}, func(error) int { return 0 })
}
