package logs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Index is the place of a task in a log index: a directory of links to the files of all tasks,
// named after the tasks.
//
//	ROOT/NAMESPACE_JOB_GROUP_ALLOC/TASK/meta.json
//	ROOT/NAMESPACE_JOB_GROUP_ALLOC/TASK/stdout.0
type Index struct {
	// Root is trusted: only root can write to it, and to the directories above.
	Root string   `json:"root"`
	Meta Identity `json:"meta"`
}

// Identity is the content of an index's meta.json.
type Identity struct {
	Namespace string            `json:"namespace"`
	Job       string            `json:"job"`
	Group     string            `json:"group"`
	Task      string            `json:"task"`
	AllocID   string            `json:"alloc_id"`
	NodeID    string            `json:"node_id"`
	Node      string            `json:"node"`
	Meta      map[string]string `json:"meta,omitempty"` // of the job
	AllocDir  string            `json:"alloc_dir"`      // the entry is removed when it is gone
}

// MetaFile is the name of the file with a task's Identity.
const MetaFile = "meta.json"

// Maximum lengths of the parts of a name, in bytes. Together with an allocation's ID and the
// separators they fit in the 255 bytes of a file name.
const (
	maxNamespaceName = 48
	maxJobName       = 96
	maxGroupName     = 64
	maxTaskName      = 200
)

// PodName returns the name of a pod's directory. It is unique, and separators do not occur in its
// parts.
func (i Identity) PodName() string {
	return strings.Join([]string{
		encode(i.Namespace, maxNamespaceName), encode(i.Job, maxJobName),
		encode(i.Group, maxGroupName), encode(i.AllocID, maxGroupName),
	}, "_")
}

// TaskName returns the name of a task's directory in the pod's directory.
func (i Identity) TaskName() string { return encode(i.Task, maxTaskName) }

// encode returns a file name for an ID. Letters, digits, dashes and dots are kept, except a leading
// dot, which hides a file. Other bytes are percent-encoded. The end of a long ID is replaced by a
// tilde and a hash.
func encode(id string, limit int) string {
	const hashBytes = 8
	var b strings.Builder
	cut := 0 // the longest prefix that leaves space for the hash
	for i := range len(id) {
		if b.Len() <= limit-1-2*hashBytes {
			cut = b.Len()
		}
		if c := id[i]; isPlain(c) && (c != '.' || i > 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
		if b.Len() > limit {
			sum := sha256.Sum256([]byte(id))
			return b.String()[:cut] + "~" + hex.EncodeToString(sum[:hashBytes])
		}
	}
	if id == "" {
		return "~"
	}
	return b.String()
}

func isPlain(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '-' || c == '.'
}

func (i *Index) check() error {
	if i != nil && (!filepath.IsAbs(i.Root) || !filepath.IsAbs(i.Meta.AllocDir)) {
		return errors.New("logs: the directories of an index must be absolute paths")
	}
	return nil
}
