package front

import "net/netip"

// Manager is how a front's ports lead to the page of the dashboard where its members are looked after.
type Manager struct {
	From []netip.Prefix `json:"from,omitempty"` // who is led there; to everybody else nothing shows that there is one
	Page string         `json:"page,omitempty"`
}

// managerPath is where Apache's balancer has such a page.
const managerPath = "/balancer-manager"

// leads reports whether a request is for the page, and from somebody who may know of it. A trusted proxy speaks for others, who may
// be anybody.
func (m *Manager) leads(path []byte, from netip.Addr, trusted bool) bool {
	return len(m.From) > 0 && string(path) == managerPath && !trusted && within(m.From, from)
}

// ManagedFrom reports whether somebody at an address may change members in a browser.
func (f Front) ManagedFrom(at netip.Addr) bool {
	return len(f.Manager) == 0 || within(f.Manager, at.Unmap().WithZone(""))
}
