package fleet

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"unicode"

	"bramble/bus"
	"bramble/fault"
)

// maxWhy is how long the reason for draining a node may be, in bytes.
const maxWhy = 200

// drain keeps nodes from getting new work, or lets them again; all or none of them.
func (s *Service) drain(ctx context.Context, who bus.Caller, req drainRequest) (none, error) {
	if len(req.Why) > maxWhy || strings.ContainsFunc(req.Why, unicode.IsControl) {
		return none{}, fault.New(fault.Misused, "the reason for draining must be a line of at most %d bytes", maxWhy).Hint("--why 'new power supply'")
	}
	for _, name := range req.Names {
		if _, err := s.Node(name); err != nil {
			return none{}, err
		}
	}
	why, did := "", "let %s have work again"
	if !req.Undo {
		why, did = cmp.Or(req.Why, "drained by "+who.Name), "drained %s"
	}
	for _, name := range req.Names {
		if err := s.update(ctx, name, func(n *Node) { n.Drained = why }); err != nil {
			return none{}, err
		}
	}
	text := fmt.Sprintf(did, clip(Fold(req.Names)))
	if req.Why != "" && !req.Undo {
		text += ": " + req.Why
	}
	s.audit(who, "", text)
	return none{}, nil
}
