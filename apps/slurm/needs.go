package slurm

import (
	"maps"
	"math"
	"strconv"
	"strings"

	"bramble/fault"
	"bramble/job"
)

// mem reads --mem, per node. 0 is all of it, which here is no limit and nothing kept from others.
func (b *Batch) mem(s string) error {
	n, err := parseMemory(s)
	if err != nil {
		return err
	}
	if n == 0 && !b.Spec.Exclusive {
		b.warn("--mem=0 sets no limit, but keeps no memory from other jobs; --exclusive does")
	}
	b.Spec.Memory, b.Spec.MemoryPerCPU = n, 0
	return nil
}

func (b *Batch) memPerCPU(s string) error {
	n, err := parseMemory(s)
	b.Spec.Memory, b.Spec.MemoryPerCPU = 0, n
	return err
}

// parseMemory reads an amount of memory in bytes: MiB unless K, M, G or T says otherwise.
func parseMemory(s string) (int64, error) {
	digits := strings.TrimRight(strings.ToUpper(s), "KMGTIB")
	unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s)[len(digits):], "B"), "I")
	shift := map[string]int{"K": 10, "": 20, "M": 20, "G": 30, "T": 40}[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || shift == 0 || n > math.MaxInt64>>shift || unit == "" && !strings.EqualFold(digits, s) {
		return 0, fault.New(fault.Misused, "%q is no amount of memory", clip(s)).Hint("--mem=512M, 2G, or a number of MiB")
	}
	return n << shift, nil
}

// gres reads NAME[:TYPE][:COUNT],… per node.
func (b *Batch) gres(s string) error {
	all := map[string]int{}
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimPrefix(strings.TrimPrefix(item, "gres:"), "gres/")
		parts := strings.Split(item, ":")
		if len(parts) == 1 && strings.EqualFold(item, "none") {
			continue
		}
		n, last := 1, len(parts)-1
		if last > 0 && isNumber(parts[last]) {
			var err error
			if n, err = number(parts[last]); err != nil {
				return err
			}
			last--
		}
		name := strings.ToLower(parts[0])
		if name == "" || last > 1 {
			return fault.New(fault.Misused, "%q names no resource", clip(item)).Hint("--gres=gpu:2")
		}
		if last == 1 {
			b.warn("--gres: any " + name + " will do: of which type it is, here " + clip(parts[1]) + ", is for --constraint to say")
		}
		all[name] += n
	}
	if b.Spec.Gres == nil {
		b.Spec.Gres = map[string]int{}
	}
	maps.Copy(b.Spec.Gres, all)
	return nil
}

func isNumber(s string) bool {
	return s != "" && isDigit(s[0])
}

// gpuCount reads [TYPE:]COUNT.
func (b *Batch) gpuCount(as, s string) (int, error) {
	kind, n, typed := strings.Cut(s, ":")
	if !typed {
		return number(s)
	}
	b.warn(as + ": any GPU will do: of which type it is, here " + clip(kind) + ", is for --constraint to say")
	return number(n)
}

func (b *Batch) allGPUs(s string) (err error) {
	b.gpus, err = b.gpuCount("--gpus", s)
	return err
}

func (b *Batch) nodeGPUs(s string) error {
	n, err := b.gpuCount("--gpus-per-node", s)
	if err == nil {
		err = b.gres("gpu:" + strconv.Itoa(n))
	}
	return err
}

func (b *Batch) taskGPUs(s string) (err error) {
	b.gpusATask, err = b.gpuCount("--gpus-per-task", s)
	return err
}

// nodeCount reads --nodes=MIN[-MAX].
func (b *Batch) nodeCount(s string) error {
	least, most, ranged := strings.Cut(s, "-")
	n, err := number(least)
	if err == nil && ranged {
		var m int
		if m, err = number(most); err == nil && m < n {
			err = fault.New(fault.Misused, "%q goes backwards", clip(s))
		} else if m > n {
			b.warn("--nodes=" + s + ": it gets " + least + ", not up to " + most)
		}
	}
	b.Spec.Nodes = n
	return err
}

// dependency reads TYPE:JOB[:JOB…] with commas between for all of them, or question marks for any.
func (b *Batch) dependency(s string) error {
	wrong := fault.New(fault.Misused, "%q is no list of dependencies", clip(s)).Hint("--dependency=afterok:12:13,afterany:14")
	mark := ","
	if strings.Contains(s, "?") {
		if mark = "?"; strings.Contains(s, ",") {
			return fault.New(fault.Misused, "%q mixes commas, for all, and question marks, for any", clip(s)).Hint("--dependency=afterok:12,afterok:13")
		}
	}
	var all []job.Dependency
	for item := range strings.SplitSeq(s, mark) {
		list, ok := b.depends(item)
		if !ok || len(all) > maxDepend {
			return wrong
		}
		all = append(all, list...)
	}
	b.Spec.Depend, b.Spec.DependAny = all, mark == "?"
	return nil
}

// maxDepend is how many dependencies are read.
const maxDepend = 200

// depends reads one item of a list of dependencies.
func (b *Batch) depends(item string) (list []job.Dependency, ok bool) {
	word, ids, typed := strings.Cut(item, ":")
	if isNumber(word) {
		word, ids, typed = "afterany", item, true
	}
	kind := job.DependencyKind(strings.ToLower(word))
	switch kind {
	case job.Singleton:
		return []job.Dependency{{Kind: kind}}, !typed
	case job.After, job.AfterAny, job.AfterOK, job.AfterNotOK:
	case "afterburstbuffer":
		kind = job.AfterAny
	case "aftercorr":
		b.warn("--dependency: aftercorr waits for all tasks of the other job, as afterok does, and not for each task's like")
		kind = job.AfterOK
	default:
		return nil, false
	}
	for text := range strings.SplitSeq(ids, ":") {
		text, delay, delayed := strings.Cut(text, "+")
		if delayed && kind == job.After {
			b.warn("--dependency: the " + clip(delay) + " minutes after job " + clip(text) + " began are not waited for; --begin can wait")
		}
		id, index, err := ParseID(text)
		if err != nil || delayed && kind != job.After {
			return nil, false
		}
		if index >= 0 {
			b.warn("--dependency: all tasks of job " + strconv.FormatInt(int64(id), 10) + " are waited for, not only " + clip(text))
		}
		list = append(list, job.Dependency{Kind: kind, Job: id})
	}
	return list, len(list) > 0
}

// ParseID reads what names a job to Slurm's commands: 7, 7_3 for a task of an array, 7.batch for a step, or
// the number that Slurm variables give a task. index is -1 for the whole job.
func ParseID(s string) (id job.ID, index int, err error) {
	whole, _, _ := strings.Cut(s, ".")
	left, right, task := strings.Cut(whole, "_")
	n, err := strconv.ParseInt(left, 10, 64)
	if err == nil && task {
		index, err = strconv.Atoi(right)
	}
	if err != nil || n < 1 || index < 0 || index > job.MaxIndex {
		return 0, -1, fault.New(fault.Misused, "%q is no job", clip(s)).Hint("7, or 7_3 for task 3 of it")
	}
	if !task {
		id, index = job.FromSlurm(n)
		return id, index, nil
	}
	return job.ID(n), index, nil
}
