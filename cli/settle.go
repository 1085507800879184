package cli

import (
	"time"

	"bramble/host"
)

// settleAfter is when a process that stays has done what belongs to its start.
const settleAfter = 10 * time.Second

// settles has this process, which stays, give back then what only its start needed; not if forget is called before.
func settles() (forget func() bool) {
	return time.AfterFunc(settleAfter, func() { host.Settle() }).Stop
}
