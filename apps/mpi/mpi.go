// Package mpi runs programs of Open MPI and MPICH on an allocation. The library's own mpirun starts them: where it
// believes that it calls ssh, it calls us, and we ask the agent of the node.
package mpi

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bramble/job"
)

// Library is an implementation of MPI.
type Library string

const (
	OpenMPI Library = "openmpi"
	MPICH   Library = "mpich"
)

// Setting is what the environment of an allocation is made of.
type Setting struct {
	Agent     string // script that is called as ssh is
	Hosts     string // file with "NODE slots=N" lines, for Open MPI
	Machines  string // file with "NODE:N" lines, for MPICH
	Network   string // the nodes' network as ADDRESS/BITS; "" when they have none in common
	Interface string // this node's link to it
	Shared    bool   // several of the nodes are on one machine
	Scratch   string // folder in memory for the launcher's own files, the same on every node; "" when there is none
	Shell     string // of the account
	Root      bool   // it is root, which an admin has said
}

// Environment has a plain mpirun start its processes through our agent, on the nodes of the allocation, over the
// network that the agents use. Slurm's variables may be there too: both libraries would call srun for them.
func (s Setting) Environment() []string {
	links := "self,vader,tcp" // vader is memory that ranks of a host share
	if s.Shared {
		links = "self,tcp"
	}
	env := []string{
		"OMPI_MCA_plm=rsh", "OMPI_MCA_plm_rsh_agent=" + s.Agent, "OMPI_MCA_plm_rsh_no_tree_spawn=1",
		"OMPI_MCA_plm_rsh_num_concurrent=256", "OMPI_MCA_orte_leave_session_attached=1", "OMPI_MCA_ras=^slurm",
		"OMPI_MCA_orte_default_hostfile=" + s.Hosts, "OMPI_MCA_btl=" + links, "OMPI_MCA_pml=ob1",
		// Open MPI 5 has its launcher in PRRTE.
		"PRTE_MCA_plm=ssh", "PRTE_MCA_plm_ssh_agent=" + s.Agent, "PRTE_MCA_plm_ssh_no_tree_spawn=1",
		"PRTE_MCA_prte_leave_session_attached=1", "PRTE_MCA_ras=^slurm", "PRTE_MCA_prte_default_hostfile=" + s.Hosts,
		// Each daemon and rank looks at its machine, devices on the PCI bus included, which takes more time than all else and
		// which nobody asks about: links are chosen here.
		"HWLOC_COMPONENTS=-linuxio", "HWLOC_PLUGINS_PATH=/nonexistent",
		"HYDRA_LAUNCHER=ssh", "HYDRA_LAUNCHER_EXEC=" + s.Agent, "HYDRA_HOST_FILE=" + s.Machines, "HYDRA_RMK=user",
	}
	if s.Scratch != "" && s.Shared {
		env = append(env, scratchVar+"="+s.Scratch)
	}
	if s.Scratch != "" && !s.Shared { // else in TMPDIR, on an SD card
		env = append(env, "OMPI_MCA_orte_tmpdir_base="+s.Scratch, "PRTE_MCA_prte_tmpdir_base="+s.Scratch)
	}
	if s.Network != "" {
		env = append(env, "OMPI_MCA_btl_tcp_if_include="+s.Network, "OMPI_MCA_oob_tcp_if_include="+s.Network,
			"PRTE_MCA_prte_if_include="+s.Network, "PMIX_MCA_ptl_tcp_if_include="+s.Network)
	}
	if s.Interface != "" {
		env = append(env, "HYDRA_IFACE="+s.Interface, "FI_TCP_IFACE="+s.Interface, "UCX_NET_DEVICES="+s.Interface)
	}
	if strings.HasSuffix(s.Shell, "/nologin") || strings.HasSuffix(s.Shell, "/false") {
		env = append(env, "SHELL=/bin/sh") // Open MPI warns of one that it does not know
	}
	if s.Root {
		env = append(env, "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "PRTE_ALLOW_RUN_AS_ROOT=1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1")
	}
	if s.Shared {
		env = append(env, "MPIR_CVAR_NOLOCAL=1")
	}
	return env
}

// Dress writes an allocation's lists of hosts and its launcher, and returns the environment that points to them.
func Dress(d job.Dressing) ([]string, error) {
	ranks := 0
	for _, p := range d.Peers {
		ranks += p.Ranks
	}
	if ranks < 2 {
		return nil, nil
	}
	file := func(name string) string { return filepath.Join(d.Dir, name) }
	s := Setting{Agent: file("mpi-agent"), Hosts: file("hosts"), Machines: file("machines"), Scratch: d.Scratch, Shell: d.Account.Shell, Root: d.Account.UID == 0}
	s.Network, s.Interface = network(d.Peers)
	s.Shared = shared(d.Peers)
	hosts, machines := lists(d.Peers)
	for _, f := range []struct {
		path, text string
		mode       os.FileMode
	}{{s.Agent, agentScript(d.Exe), 0o755}, {s.Hosts, hosts, 0o644}, {s.Machines, machines, 0o644}} {
		if err := os.WriteFile(f.path, []byte(f.text), f.mode); err != nil {
			return nil, err
		}
		if err := os.Chmod(f.path, f.mode); err != nil { // whatever the agent's umask
			return nil, err
		}
	}
	return s.Environment(), nil
}

func agentScript(exe string) string {
	return "#!/bin/sh\nexec '" + strings.ReplaceAll(exe, "'", `'\''`) + "' mpi-agent \"$@\"\n"
}

// lists are the nodes with their ranks, as Open MPI and as MPICH reads them.
func lists(peers []job.Peer) (hosts, machines string) {
	for _, p := range peers {
		hosts += fmt.Sprintf("%s slots=%d\n", p.Node, p.Ranks)
		machines += p.Node + ":" + strconv.Itoa(p.Ranks) + "\n"
	}
	return hosts, machines
}

// shared reports whether some of the nodes are one machine, as in a lab on loopback: the libraries tell hosts apart by
// name, and would have ranks of different nodes share memory.
func shared(peers []job.Peer) bool {
	seen := map[string]bool{}
	for _, p := range peers {
		host, _, _ := net.SplitHostPort(p.Address)
		if seen[host] {
			return true
		}
		seen[host] = true
	}
	return false
}

// network is the network of this machine that all peers are on, and its link; nothing when there is none.
func network(peers []job.Peer) (cidr, link string) {
	links, err := net.Interfaces()
	if err != nil {
		return "", ""
	}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil || l.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && holds(n, peers) {
				return (&net.IPNet{IP: n.IP.Mask(n.Mask), Mask: n.Mask}).String(), l.Name
			}
		}
	}
	return "", ""
}

// holds reports whether all peers are on a network, of which our own address is the first peer's.
func holds(n *net.IPNet, peers []job.Peer) bool {
	for _, p := range peers {
		host, _, _ := net.SplitHostPort(p.Address)
		ip := net.ParseIP(host)
		if ip == nil || !n.Contains(ip) {
			return false
		}
	}
	return len(peers) > 0
}
