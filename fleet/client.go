package fleet

import (
	"cmp"
	"context"
	"io"
	"iter"
	"maps"
	"slices"

	"bramble/bus"
	"bramble/fault"
	"bramble/trust"
)

// Client asks a head about its members.
type Client struct{ Conn *bus.Conn }

// Nodes returns all members in natural order.
func (c Client) Nodes(ctx context.Context) ([]Node, error) {
	for nodes, err := range c.watch(ctx, false) {
		return nodes, err
	}
	return nil, fault.New(fault.Unreachable, "the head sent no list of nodes").Hint("bramble doctor")
}

// Watch yields the list of members whenever something in it changed, until ctx ends.
func (c Client) Watch(ctx context.Context) iter.Seq2[[]Node, error] { return c.watch(ctx, true) }

func (c Client) watch(ctx context.Context, on bool) iter.Seq2[[]Node, error] {
	return func(yield func([]Node, error) bool) {
		s, err := c.Conn.Open(ctx, "fleet.read.nodes", nodesRequest{Watch: on})
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.Close()
		all, whole := map[string]Node{}, false
		for {
			data, err := s.Recv()
			if err == io.EOF {
				return
			}
			var up update
			if err == nil {
				up, err = decodeUpdate(data)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			up.apply(all)
			if whole = whole || up.Whole; whole && !up.More && !yield(sorted(all), nil) {
				return
			}
		}
	}
}

// apply brings a list up to date.
func (up *update) apply(all map[string]Node) {
	for _, n := range up.Nodes {
		all[n.Name] = n
	}
	for _, name := range up.Gone {
		delete(all, name)
	}
}

func sorted(all map[string]Node) []Node {
	nodes := make([]Node, 0, len(all))
	for _, name := range slices.SortedFunc(maps.Keys(all), NaturalCompare) { // names are cheaper to move than nodes
		nodes = append(nodes, all[name])
	}
	return nodes
}

// Select returns the members that a selection means.
func (c Client) Select(ctx context.Context, selection string) ([]Node, error) {
	sel, err := ParseSelector(cmp.Or(selection, "all"))
	if err != nil {
		return nil, err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	return sel.Select(nodes)
}

// Label sets or takes off labels of the named nodes.
func (c Client) Label(ctx context.Context, names []string, changes []LabelChange) error {
	return c.Conn.Call(ctx, "fleet.admin.label", labelRequest{names, changes}, nil)
}

// Drain keeps the named nodes from getting new work; why is for people, and "" for no reason given.
func (c Client) Drain(ctx context.Context, names []string, why string) error {
	return c.Conn.Call(ctx, "fleet.admin.drain", drainRequest{Names: names, Why: why}, nil)
}

// Undrain lets the named nodes get new work again.
func (c Client) Undrain(ctx context.Context, names []string) error {
	return c.Conn.Call(ctx, "fleet.admin.drain", drainRequest{Names: names, Undo: true}, nil)
}

// Rename gives a node another name; its work must have ended.
func (c Client) Rename(ctx context.Context, old, name string) error {
	return c.Conn.Call(ctx, "fleet.admin.rename", renameRequest{old, name}, nil)
}

// Remove ends a node's membership; it is cut off within a second.
func (c Client) Remove(ctx context.Context, name string) error {
	return c.Conn.Call(ctx, "fleet.admin.remove", removeRequest{name}, nil)
}

// CreateToken makes a join or sign-in token; its text is told this once.
func (c Client) CreateToken(ctx context.Context, spec trust.TokenSpec) (string, trust.TokenInfo, error) {
	var a tokenAnswer
	err := c.Conn.Call(ctx, "fleet.admin.token-create", tokenRequest{spec}, &a)
	return a.Token, a.Info, err
}

// Tokens lists the tokens, without their secrets.
func (c Client) Tokens(ctx context.Context) ([]trust.TokenInfo, error) {
	var list []trust.TokenInfo
	err := c.Conn.Call(ctx, "fleet.admin.token-list", none{}, &list)
	return list, err
}

// RevokeToken ends a token by its id.
func (c Client) RevokeToken(ctx context.Context, id string) error {
	return c.Conn.Call(ctx, "fleet.admin.token-revoke", id, nil)
}

// CreateClient makes a credential for a person; the key never leaves this process.
func (c Client) CreateClient(ctx context.Context, user string, role trust.Role, ca *trust.Credential) (*trust.Credential, string, error) {
	key, err := trust.NewKey()
	if err != nil {
		return nil, "", err
	}
	csr, err := trust.NewRequest(key)
	if err != nil {
		return nil, "", err
	}
	var a issueAnswer
	if err := c.Conn.Call(ctx, "fleet.admin.client-issue", issueRequest{user, role, csr}, &a); err != nil {
		return nil, "", err
	}
	certs, err := trust.ParseCertificates(a.Cert)
	if err != nil {
		return nil, "", err
	}
	cred, err := trust.NewCredential(key, certs[0], ca.CA())
	return cred, a.Cluster, err
}

// RevokeClient ends all of a person's client files.
func (c Client) RevokeClient(ctx context.Context, user string) error {
	return c.Conn.Call(ctx, "fleet.admin.client-revoke", user, nil)
}
