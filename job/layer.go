package job

import (
	"errors"
	"os"
	"path/filepath"

	"bramble/host"
)

// layer has an attempt see the job's files, and its changes go elsewhere.
func (n *Node) layer(k Key, account host.Account) error {
	changed, work := n.changedDir(k), filepath.Join(n.layerDir(k), "work")
	if err := errors.Join(os.MkdirAll(n.layerDir(k), 0o700), makeDir(changed, account), makeDir(work, host.Account{})); err != nil {
		return err
	}
	return host.Layer(n.inputsDir(k.Job), changed, work, n.taskDir(k))
}

// An attempt that has ended and changed nothing leaves its layer to a later one of its job, which is spared the making of one.

// retire removes an ended attempt's folder, or keeps it for a later attempt.
func (n *Node) retire(k Key) {
	n.mu.Lock()
	on := n.grounds[k.Job]
	n.mu.Unlock()
	if !n.Layered || on == nil || !host.Untouched(n.changedDir(k), on.account, ownMode) || !n.leaveLayer(k) {
		n.removeAttempt(k)
	}
}

// leaveLayer reports whether a layer was taken for later.
func (n *Node) leaveLayer(k Key) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.here[k.Job] == nil || len(n.idle[k.Job]) >= 2*n.Cores {
		return false
	}
	n.idle[k.Job] = append(n.idle[k.Job], k)
	return true
}

// inherit gives an attempt the layer of one that has ended, if there is any.
func (n *Node) inherit(k Key, account host.Account) bool {
	n.mu.Lock()
	idle := n.idle[k.Job]
	if len(idle) == 0 {
		n.mu.Unlock()
		return false
	}
	old := idle[len(idle)-1]
	n.idle[k.Job] = idle[:len(idle)-1]
	n.mu.Unlock()
	err := os.Rename(n.layerDir(old), n.layerDir(k))
	if err == nil && !host.Untouched(n.changedDir(k), account, ownMode) {
		err = errors.New("it was touched")
	}
	if err == nil {
		err = host.MoveLayer(n.taskDir(old), n.taskDir(k))
	}
	if err == nil {
		return true
	}
	n.Log.Debug("a layer is not used again", "task", k.String(), "of", old.String(), "error", err)
	n.removeAttempt(old)
	n.unlayer(n.taskDir(k))
	os.RemoveAll(n.layerDir(k))
	return false
}
