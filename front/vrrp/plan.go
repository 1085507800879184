package vrrp

import (
	"net"
	"net/netip"
	"time"
)

// state is where a front stands in the election, in the words of RFC 9568, section 6.4.
type state int

const (
	initialize state = iota // it cannot take part: its port is down
	backup                  // it listens for whoever has the address
	active                  // it has the address
	leaving                 // it has told the others to take the address, and answers until one does; no state of the RFC
)

// Times of the election. Three advertisements that stay out make another front take the address.
const (
	interval   = 200 * time.Millisecond // of advertisements
	lease      = time.Second            // of the address, in whole seconds
	preempting = 5 * time.Second        // how long a front is well before it takes the address from one of lower priority
	sickening  = 600 * time.Millisecond // how long it is not before that counts
	handing    = 300 * time.Millisecond // how long it answers after it has told the others to take over
	occupied   = 3 * time.Second        // how long another machine answers for the address before it is said to have it
	asking     = 200 * time.Millisecond // between questions who has it
	defending  = time.Second            // between answers to a machine that claims it as well
	lowest     = 1                      // the priority of a front that has nobody to ask
)

// order is what is to be done.
type order int

const (
	hold      order = iota // take the address for lease, or for that much longer
	drop                   // the address
	advertise              // with priority()
	resign                 // advertise priority 0
	claim                  // the address, by ARP
	ask                    // who has it, by ARP
	yield                  // tell why another machine has it, and end
	done                   // end
)

// machine is a front's part in the election. It has no clock and does nothing: it returns what is to be done.
type machine struct {
	Self     netip.Addr // of the port: decides among equals
	Priority uint8

	state  state
	due    time.Time     // the next advertisement when active, else the end of waiting for one
	other  time.Duration // interval of the active one, as it said
	worn   time.Time     // when the address was taken, or kept, the last time
	mature time.Time     // when it may take the address from one of lower priority

	sick  time.Time // since when there is nobody to ask; zero: there is
	ill   bool      // that counts
	alone bool      // nobody was ever heard, and it never had the address

	begun   time.Time // of backup
	asked   time.Time
	claimed time.Time // another machine's last claim
	by      net.HardwareAddr

	taken    time.Time
	reclaim  time.Time // the next claim
	defended time.Time
	lapsed   time.Duration // how long it did not run, when it lost the address by that
}

// newMachine is a front that has not begun.
func newMachine(self netip.Addr, priority uint8) *machine {
	return &machine{Self: self, Priority: priority, alone: true}
}

// inherit goes on for another process of this machine, which has the address.
func (m *machine) inherit(now time.Time) {
	m.state, m.alone = active, false
	m.due, m.worn, m.taken, m.reclaim = now, now, now, now
}

// priority is what it advertises.
func (m *machine) priority() uint8 {
	if m.ill {
		return lowest
	}
	return m.Priority
}

// skew has the front of the highest priority take over first (RFC 9568, section 6.1).
func (m *machine) skew() time.Duration {
	return m.other * time.Duration(256-int(m.priority())) / 256
}

// wait begins to wait for the next advertisement.
func (m *machine) wait(now time.Time) { m.due = now.Add(3*m.other + m.skew()) }

// next is when something is due; zero for nothing.
func (m *machine) next() time.Time {
	if m.state == initialize {
		return time.Time{}
	}
	at := m.due
	if m.state == active && m.reclaim.Before(at) {
		at = m.reclaim
	}
	if m.state == backup && m.alone && m.asked.Add(asking).Before(at) {
		at = m.asked.Add(asking)
	}
	return at
}

// tick lets time pass. Connected: the port is up; well: there is somebody to ask.
func (m *machine) tick(now time.Time, connected, well bool) []order {
	orders := m.lapse(now)
	m.feel(now, well)
	switch {
	case !connected && m.state == initialize:
		return orders
	case !connected:
		m.state = initialize
		return append(orders, drop)
	case m.state == initialize:
		return append(orders, m.back(now, interval)...)
	case m.state == backup && m.alone && !now.Before(m.asked.Add(asking)):
		m.asked = now
		orders = append(orders, ask)
	}
	if !now.Before(m.due) {
		orders = append(orders, m.expire(now)...)
	}
	if m.state == active && !now.Before(m.reclaim) {
		orders = append(orders, m.claim(now))
	}
	return orders
}

// feel notes whether there is somebody to ask. Only what lasts counts, for what hurts all fronts at once hurts one of them first.
func (m *machine) feel(now time.Time, well bool) {
	switch {
	case !well && m.sick.IsZero():
		m.sick = now
	case !well && now.Sub(m.sick) >= sickening:
		m.ill = true
	case well && m.ill:
		m.ill, m.mature = false, now.Add(preempting)
	}
	if well {
		m.sick = time.Time{}
	}
}

// lapse gives the address up when this process did not run for longer than the address was its own: another front has it now.
func (m *machine) lapse(now time.Time) []order {
	late := now.Sub(m.worn)
	if m.state != active || late <= lease {
		return nil
	}
	m.lapsed = late
	return m.back(now, interval)
}

// back makes a backup of it, which waits for one that advertises so often.
func (m *machine) back(now time.Time, other time.Duration) []order {
	var orders []order
	if m.state == active {
		orders = []order{drop}
	}
	m.state, m.other, m.begun = backup, other, now
	m.mature = now.Add(preempting)
	m.wait(now)
	return orders
}

// expire is what follows when the time that was waited for has come.
func (m *machine) expire(now time.Time) []order {
	switch m.state {
	case backup:
		if m.alone && now.Sub(m.claimed) <= 2*asking {
			if now.Sub(m.begun) >= occupied {
				return []order{yield}
			}
			m.due = now.Add(asking)
			return nil
		}
		m.state, m.alone, m.taken, m.reclaim = active, false, now, now
	case leaving:
		return []order{drop, done}
	}
	m.worn, m.due = now, now.Add(interval)
	return []order{hold, advertise}
}

// claim claims the address, and says when to do so again: often at first, while whoever had it before may still answer for it and
// what is said may get lost, and for ever, for those who missed it or forgot.
func (m *machine) claim(now time.Time) order {
	switch since := now.Sub(m.taken); {
	case since < 3*time.Second:
		m.reclaim = now.Add(100 * time.Millisecond)
	case since < 10*time.Second:
		m.reclaim = now.Add(2 * time.Second)
	default:
		m.reclaim = now.Add(30 * time.Second)
	}
	return claim
}

// hear takes an advertisement in.
func (m *machine) hear(now time.Time, from netip.Addr, priority uint8, every time.Duration) []order {
	orders := m.lapse(now)
	m.alone = false
	switch m.state {
	case backup:
		m.follow(now, priority, every)
	case active:
		stronger := priority > m.priority() || priority == m.priority() && from.Compare(m.Self) > 0
		switch {
		case priority == 0:
			orders = append(orders, advertise)
		case stronger:
			orders = append(orders, m.back(now, every)...)
		default: // whoever heard the other one's claims is told better
			orders = append(orders, advertise, m.claim(now))
		}
	case leaving:
		if priority > 0 {
			orders = append(orders, drop, done)
		}
	}
	return orders
}

// follow is what an advertisement is to a backup: a reason to wait, unless it may take the address from who sent it.
func (m *machine) follow(now time.Time, priority uint8, every time.Duration) {
	switch {
	case priority == 0:
		m.due = now.Add(m.skew())
	case priority >= m.priority() || now.Before(m.mature) && priority > lowest:
		m.other = every
		m.wait(now)
	}
}

// contend takes in that another machine says by ARP that it has the address.
func (m *machine) contend(now time.Time, by net.HardwareAddr) []order {
	m.claimed, m.by = now, by
	if m.state != active || now.Sub(m.defended) < defending {
		return nil
	}
	m.defended = now
	return []order{m.claim(now)}
}

// leave hands the address over.
func (m *machine) leave(now time.Time) []order {
	if m.state != active {
		return []order{done}
	}
	m.state, m.due = leaving, now.Add(handing)
	return []order{hold, resign}
}
