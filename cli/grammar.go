package cli

import (
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

const about = `bramble turns a pile of Raspberry Pis, and any other Linux machines, into one cluster.

Begin with: bramble demo (a cluster on this machine, at work), or bramble up (a real one).`

// grammar is every verb, its flags and arguments; one file a verb says what each does.
type grammar struct {
	Cluster string           `help:"Cluster to ask: a state folder or a client file. This machine's own without." placeholder:"DIR|FILE" env:"BRAMBLE_CLUSTER"`
	Version kong.VersionFlag `env:"-" help:"Print the version."`

	Up      upCmd      `cmd:"" group:"cluster" help:"Make this machine the head of a cluster, and run it."`
	Join    joinCmd    `cmd:"" group:"cluster" help:"Make this machine a node of a cluster, and run it."`
	Nodes   nodesCmd   `cmd:"" group:"cluster" help:"List the nodes; label, rename or remove them."`
	Token   tokenCmd   `cmd:"" group:"cluster" help:"Make, list or revoke tokens for joining and signing in."`
	Client  clientCmd  `cmd:"" group:"cluster" help:"Make or revoke client files for people and programs."`
	Service serviceCmd `cmd:"" group:"cluster" help:"Have systemd run this machine's part."`
	Doctor  doctorCmd  `cmd:"" group:"cluster" help:"Look for what is wrong on this machine and say what to type."`
	Events  eventsCmd  `cmd:"" group:"cluster" help:"Show what happened and who asked for it."`

	Run   runCmd   `cmd:"" group:"work" help:"Run a command on many nodes at once."`
	Shell shellCmd `cmd:"" group:"work" help:"Open a terminal on a node."`
	Push  pushCmd  `cmd:"" group:"work" help:"Copy files and folders to many nodes."`
	Pull  pullCmd  `cmd:"" group:"work" help:"Copy files and folders from many nodes, each into a folder of its name."`
	Store storeCmd `cmd:"" group:"work" help:"Keep files on several nodes; look into what nodes hold, and free it."`

	Submit    submitCmd    `cmd:"" group:"work" help:"Queue a command or a script, once or as an array."`
	Mpi       mpiCmd       `cmd:"" group:"work" help:"Run a program of MPI over the nodes, and measure them."`
	Step      stepCmd      `cmd:"" group:"work" help:"Inside a job: run a command on the nodes of its allocation."`
	Rank      rankCmd      `cmd:"" group:"work" help:"In a program that step has started: meet the other ranks."`
	Each      eachCmd      `cmd:"" group:"work" help:"Run a command for every input, with GNU parallel's words."`
	Queue     queueCmd     `cmd:"" group:"work" help:"List jobs."`
	Job       jobCmd       `cmd:"" group:"work" help:"Show everything about a job; hold, release, requeue or alter it."`
	Logs      logsCmd      `cmd:"" group:"work" help:"Print what a job's tasks wrote."`
	Attach    attachCmd    `cmd:"" group:"work" help:"Come back to a job as if it had been submitted with --wait."`
	Wait      waitCmd      `cmd:"" group:"work" help:"Wait for jobs to end and bring their files back."`
	Cancel    cancelCmd    `cmd:"" group:"work" help:"End jobs."`
	History   historyCmd   `cmd:"" group:"work" help:"List ended jobs with what they used."`
	Partition partitionCmd `cmd:"" group:"work" help:"List, set or remove partitions: named parts of the cluster with limits."`
	Drain     drainCmd     `cmd:"" group:"cluster" help:"Give nodes no new work, and say when what runs on them has ended."`
	Undrain   undrainCmd   `cmd:"" group:"cluster" help:"Give drained nodes work again."`

	Site  siteCmd  `cmd:"" group:"work" help:"Publish web sites on the nodes, roll them back, and see where they are."`
	Front frontCmd `cmd:"" group:"work" help:"Put web servers behind one address: a load balancer."`

	Slurm      slurmCmd      `cmd:"" group:"work" help:"One of Slurm's commands: sbatch, squeue and so on."`
	SlurmShims slurmShimsCmd `cmd:"" group:"work" name:"slurm-shims" help:"Put Slurm's commands, which ask this cluster, into a folder."`

	Demo demoCmd `cmd:"" group:"learn" help:"A guided tour: a real cluster on this machine, at work."`
	Lab  labCmd  `cmd:"" group:"learn" help:"Make a cluster of imitated machines here, and break them."`
	Sim  simCmd  `cmd:"" group:"learn" help:"Join thousands of simulated nodes to a cluster."`

	Ui uiCmd `cmd:"" group:"see" name:"ui" help:"Print a link that signs you in to the dashboard."`

	MpiAgent  mpiAgentCmd  `cmd:"" hidden:"" name:"mpi-agent" help:"Start a process of MPI on a node; called by mpirun as if it were ssh."`
	MpiLaunch mpiLaunchCmd `cmd:"" hidden:"" name:"mpi-launch" help:"Check all nodes of an allocation, then call mpirun; started by mpi."`
	MpiLook   mpiLookCmd   `cmd:"" hidden:"" name:"mpi-look" help:"Say what this node has for a program of MPI; started by mpi-launch."`
	MpiProbe  mpiProbeCmd  `cmd:"" hidden:"" name:"mpi-probe" help:"Measure the links to other nodes; started by mpi doctor."`
	Keeper    keeperCmd    `cmd:"" hidden:"" help:"Hold tasks for the agent; started by it."`
	Porter    porterCmd    `cmd:"" hidden:"" help:"Read and write files with an account's rights; started by the agent."`
	Fronts    frontsCmd    `cmd:"" hidden:"" help:"Carry the fronts of a node; started by the agent."`
	LabEnter  labEnterCmd  `cmd:"" hidden:"" help:"Become a program on a lab's node; started by lab."`
}

var groups = []kong.Group{
	{Key: "cluster", Title: "The cluster:"},
	{Key: "work", Title: "Work:"},
	{Key: "see", Title: "See:"},
	{Key: "learn", Title: "Learn and test:"},
	{Key: "files", Title: "What travels:"},
	{Key: "when", Title: "When and where:"},
}

// narrow is the part of the grammar that a line needs whose first word is this, and its --cluster: one verb takes a
// fraction of the time and memory of all, and mpirun calls us once for each node. Other words need all of it.
func narrow(word string) (part any, cluster *string) {
	var whole grammar
	var fields []reflect.StructField
	found := false
	for _, f := range reflect.VisibleFields(reflect.TypeOf(whole)) {
		_, verb := f.Tag.Lookup("cmd")
		name := f.Tag.Get("name")
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		if found = found || verb && name == word; !verb || name == word {
			fields = append(fields, f)
		}
	}
	if !found {
		return &whole, &whole.Cluster
	}
	v := reflect.New(reflect.StructOf(fields))
	return v.Interface(), v.Elem().FieldByName("Cluster").Addr().Interface().(*string)
}
