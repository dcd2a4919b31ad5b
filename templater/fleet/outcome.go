package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// taskKey identifies a task of a job.
type taskKey struct{ group, task string }

// marks are the marks of a job's tasks without their origin.
type marks map[taskKey]job.Mark

func (m marks) set(at taskKey, meta map[string]string) {
	delete(m, at)
	if mark := job.ReadMark(meta); mark != nil {
		m[at] = job.Mark{Name: mark.Name, Version: mark.Version, Digest: mark.Digest}
	}
}

func (h *header) marks() marks {
	out := marks{}
	for _, g := range h.TaskGroups {
		for _, t := range g.Tasks {
			out.set(taskKey{g.Name, t.Name}, t.Meta)
		}
	}
	return out
}

// after returns the marks that a job has after the changes of a plan.
func (h *header) after(changes []TaskChange) marks {
	out := h.marks()
	for _, c := range changes {
		at := taskKey{c.Group, c.Task}
		if c.Removed {
			delete(out, at)
			continue
		}
		meta := map[string]string{}
		if had, ok := out[at]; ok {
			meta = map[string]string{job.MarkName: had.Name, job.MarkVersion: had.Version, job.MarkDigest: had.Digest}
		}
		maps.Copy(meta, c.Meta)
		if meta[job.MarkName] == "" {
			delete(meta, job.MarkName)
		}
		out.set(at, meta)
	}
	return out
}

// unlike describes the first task that has other marks than wanted; "" if there is none.
func (m marks) unlike(want marks) string {
	at := slices.SortedFunc(maps.Keys(merged(m, want)), func(a, b taskKey) int {
		return strings.Compare(a.group+"/"+a.task, b.group+"/"+b.task)
	})
	for _, at := range at {
		have, has := m[at]
		wanted, wants := want[at]
		where := fmt.Sprintf("task %s of group %s", at.task, at.group)
		switch {
		case has && !wants:
			return fmt.Sprintf("%s, of %s %s, is not removed", where, have.Name, have.Version)
		case wants && !has:
			return fmt.Sprintf("%s, of %s %s, is missing", where, wanted.Name, wanted.Version)
		case have.Name != wanted.Name || have.Version != wanted.Version:
			return fmt.Sprintf("%s is of %s %s, not %s %s", where, have.Name, have.Version, wanted.Name, wanted.Version)
		case have.Digest != wanted.Digest:
			return fmt.Sprintf("%s is of another definition of %s %s", where, have.Name, have.Version)
		}
	}
	return ""
}

func merged(a, b marks) marks {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// cause returns the likely reason why Nomad does not get the job that was sent.
func (p *Planner) cause() string { return Cause(p.Rules.Catalog, p.Nomad.Proxy()) }

// Cause returns the likely reason why Nomad has other sidecars than those that were sent. proxy is
// the digest of the catalog of the admission proxy that answered, "" if Nomad did itself.
func Cause(catalog job.Catalog, proxy string) string {
	ours := job.CatalogDigest(catalog)
	switch proxy {
	case "":
		return "Something between this command and Nomad changes the job. Send it to Nomad's own address."
	case ours:
		return "The requests go through a nomad-sidecar serve with this catalog, but another policy. Use that policy, or Nomad's own address."
	}
	return fmt.Sprintf("The requests go through a nomad-sidecar serve with another catalog (%s, here %s), which injects its own versions. Use Nomad's own address, or give serve this catalog first.", brief(proxy), brief(ours))
}

// brief abbreviates a digest.
func brief(digest string) string { return digest[:min(len("sha256:")+12, len(digest))] }

// Compare describes the first injected task of a job that the stored job does not have as it was
// sent; "" if there is none. More sidecars, which an admission proxy adds, do not count.
func Compare(sent, now []byte) (string, error) {
	want, err := readHeader(sent)
	if err != nil {
		return "", err
	}
	have, err := readHeader(now)
	if err != nil {
		return "", err
	}
	return have.marks().lacks(want.marks()), nil
}

// ComparePlan is Compare for the job that Nomad plans: now, which is nil for a new job, with
// changes.
func ComparePlan(sent, now []byte, changes []TaskChange) (string, error) {
	want, err := readHeader(sent)
	if err != nil {
		return "", err
	}
	have := &header{}
	if now != nil {
		if have, err = readHeader(now); err != nil {
			return "", err
		}
	}
	return have.after(changes).lacks(want.marks()), nil
}

// lacks is unlike for the tasks in want.
func (m marks) lacks(want marks) string {
	maps.DeleteFunc(m, func(at taskKey, _ job.Mark) bool { _, ok := want[at]; return !ok })
	return m.unlike(want)
}

// KeptResources returns the injected tasks, as GROUP/TASK, that have other resources in the stored
// job than in the one that was sent.
func KeptResources(sent, now []byte) ([]string, error) {
	head, err := readHeader(sent)
	if err != nil {
		return nil, err
	}
	var out []string
	for at := range head.marks() {
		want, err := readGroup(sent, at.group)
		if err != nil {
			return nil, err
		}
		have, err := readGroup(now, at.group)
		if err != nil {
			continue // a new group has nothing to keep
		}
		if !within(fieldOf(task(want, at.task), "Resources"), fieldOf(task(have, at.task), "Resources"), false) {
			out = append(out, at.group+"/"+at.task)
		}
	}
	slices.Sort(out)
	return out, nil
}
