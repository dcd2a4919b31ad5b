package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/nomad/helper"
	"github.com/hashicorp/nomad/plugins/drivers"
	pstructs "github.com/hashicorp/nomad/plugins/shared/structs"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/logs"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// Bounds of the job's meta in the log index.
const (
	maxIndexMetaKeys  = 32
	maxIndexMetaBytes = 4 << 10 // of a value
)

// Kinds of links in the log index.
const (
	hardLinks     = "hard"
	symbolicLinks = "symbolic"
)

// checkLogIndex checks the values of the keys of the log index. It does not access the host.
func (c PluginConfig) checkLogIndex() error {
	var errs []error
	if c.LogIndex != "" && (!filepath.IsAbs(c.LogIndex) || filepath.Clean(c.LogIndex) == "/") {
		errs = append(errs, fmt.Errorf("log_index = %q: want an absolute path below /", c.LogIndex))
	}
	if c.LogIndex != "" && c.LogCollector == collectorNomad {
		errs = append(errs, errors.New(`log_index is set and log_collector is "nomad", which keeps no index: leave one of them out`))
	}
	if c.LogIndex == "" && len(c.LogIndexMeta) > 0 {
		errs = append(errs, errors.New("log_index_meta is set and log_index is not: set log_index, or leave log_index_meta out"))
	}
	if len(c.LogIndexMeta) > maxIndexMetaKeys {
		errs = append(errs, fmt.Errorf("log_index_meta: want at most %d keys", maxIndexMetaKeys))
	}
	for _, key := range c.LogIndexMeta {
		if key == "" {
			errs = append(errs, errors.New("log_index_meta: one key is empty"))
		}
	}
	return errors.Join(errs...)
}

// logIndex returns the path of the log index without symbolic links, or "" if there is no index. It
// creates the directory if necessary. An error says why it cannot be used.
func (s settings) logIndex() (string, error) {
	if s.LogIndex == "" {
		return "", nil
	}
	real, err := usableIndex(s.LogIndex)
	if err != nil {
		return "", fmt.Errorf("log_index = %q: %w", s.LogIndex, err)
	}
	return real, nil
}

func usableIndex(path string) (string, error) {
	real, err := trustedPath(path)
	if err != nil {
		return "", err
	}
	const mode = 0o750 // log shippers of other users need a group, which the operator knows
	if err := os.MkdirAll(real, mode); err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	const othersWrite = 0o022
	switch {
	case ownerOf(info) != 0:
		return "", fmt.Errorf("it belongs to user %d; run \"chown root %s\", or name another directory", ownerOf(info), real)
	case info.Mode().Perm()&othersWrite != 0:
		return "", fmt.Errorf("users other than root can write to it, since it has mode %04o; "+
			"run \"chmod go-w %s\", or name another directory", info.Mode().Perm(), real)
	}
	if err := unix.Access(real, unix.W_OK); err != nil {
		return "", fmt.Errorf("it is not writable: %w", err)
	}
	return real, nil
}

// setIndex adds a task to the log index if its output is collected. An unusable index makes the
// driver unhealthy, and fails no task.
func (d *Driver) setIndex(t *pod.Task, cfg *drivers.TaskConfig) {
	s := d.currentSettings()
	if t.Logs == nil || s.LogIndex == "" {
		return
	}
	root, err := s.logIndex()
	if err != nil {
		d.log.Warn("the task has no entry in the log index", "task_id", t.ID, "error", err)
		return
	}
	d.noteLinkKind(cfg.AllocDir)
	t.Logs.Index = &logs.Index{Root: root, Meta: logs.Identity{
		Namespace: cfg.Namespace, Job: cfg.JobID, Group: cfg.TaskGroupName, Task: cfg.Name,
		AllocID: cfg.AllocID, NodeID: cfg.NodeID, Node: cfg.NodeName,
		Meta: indexMeta(s.LogIndexMeta, cfg.Env), AllocDir: cfg.AllocDir,
	}}
}

// indexMeta returns the operator's choice of the job's meta, which drivers get as environment
// variables.
func indexMeta(keys []string, env map[string]string) map[string]string {
	meta := map[string]string{}
	for _, key := range keys {
		value, ok := env["NOMAD_META_"+helper.CleanEnvVar(key, '_')]
		if !ok {
			continue
		}
		if len(value) > maxIndexMetaBytes {
			value = value[:maxIndexMetaBytes]
		}
		meta[key] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return meta
}

// noteLinkKind finds out which links the index can have to the files of an allocation. Nomad does
// not tell drivers its alloc_dir before the first task.
func (d *Driver) noteLinkKind(allocDir string) {
	index, err := d.currentSettings().logIndex()
	if err != nil || index == "" {
		return
	}
	kind := symbolicLinks // link(2) requires one mount, not only one file system
	if a, err := mountOf(index); err == nil {
		if b, err := mountOf(allocDir); err == nil && a == b {
			kind = hardLinks
		}
	}
	d.linkKind.Store(kind)
}

// mountOf returns the mount that a path is on.
func mountOf(path string) (id [3]uint64, err error) {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &stat); err != nil {
		return id, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	id = [3]uint64{0, uint64(stat.Dev_major), uint64(stat.Dev_minor)}
	if stat.Mask&unix.STATX_MNT_ID != 0 { // Linux 5.8
		id[0] = stat.Mnt_id
	}
	return id, nil
}

// describeIndex adds the log index to a fingerprint.
func (d *Driver) describeIndex(fp *drivers.Fingerprint, index string) {
	if index == "" {
		return
	}
	fp.Attributes["driver.pod.log_index"] = pstructs.NewStringAttribute(index)
	kind, _ := d.linkKind.Load().(string)
	if kind == "" {
		return
	}
	fp.Attributes["driver.pod.log_index.links"] = pstructs.NewStringAttribute(kind)
	if kind == symbolicLinks {
		fp.HealthDescription += "; log_index has symbolic links, since Nomad's alloc_dir is on another mount"
	}
}
