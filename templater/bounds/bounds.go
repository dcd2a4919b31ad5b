// Package bounds rejects texts that are dangerous to parse and bounds evaluation. Go
// programs cannot recover from stack exhaustion, so a file of nested brackets would end
// a server. A small file can also describe a value larger than memory, so a Budget
// bounds the size of values and the steps of an evaluation.
//
// It does not interpret texts or values.
package bounds

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hashicorp/hcl/v2"
)

// Limits of input. A job of 1,000 groups with several sidecars each is well below; by
// default Nomad stores sources of up to 1 MB (job_max_source_size).
const (
	// HCLBytes limits a job file, JSONBytes a job in JSON, which is longer.
	HCLBytes  = 8 << 20
	JSONBytes = 32 << 20
	// DefinitionBytes limits a definition, a policy and a file of variables.
	DefinitionBytes = 1 << 20
	// Sidecars limits the sidecars of one job, and AddedBytes the bytes that they add.
	Sidecars   = 2048
	AddedBytes = 32 << 20
	// Levels limits the nesting of blocks, brackets, templates and operators.
	Levels = 500
)

// Read reads at most one byte more than most, which Size reports.
func Read(r io.Reader, most int) ([]byte, error) { return io.ReadAll(io.LimitReader(r, int64(most)+1)) }

// ReadFS is Read for a file of an fs.FS.
func ReadFS(fsys fs.FS, name string, most int) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, most)
}

// ReadFile is Read for a file.
func ReadFile(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, most)
}

// Size returns an error if a text is longer than most.
func Size(src []byte, name string, most int) *hcl.Diagnostic {
	if len(src) <= most {
		return nil
	}
	return problem(rangeAt(src, name, most), "File too large",
		fmt.Sprintf("It has more than %s, the limit. Check whether it is the right file.", size(most)))
}

func size(bytes int) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// rangeAt returns the range of the byte at an offset.
func rangeAt(src []byte, name string, offset int) hcl.Range {
	before := src[:min(offset, len(src))]
	pos := hcl.Pos{Line: bytes.Count(before, []byte("\n")) + 1, Column: len(before) - bytes.LastIndexByte(before, '\n'), Byte: len(before)}
	return hcl.Range{Filename: name, Start: pos, End: pos}
}

func problem(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: at.Ptr()}
}

func tooDeep(at hcl.Range) *hcl.Diagnostic {
	return problem(at, "Nested too deeply",
		fmt.Sprintf("Blocks, brackets or operators nest more than %d levels deep here. Simplify the text.", Levels))
}

// JSON returns the offset at which JSON, valid or not, nests too deeply, or -1.
func JSON(src []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > Levels {
				return i
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}
