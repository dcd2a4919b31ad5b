// Package bounds refuses texts that a parser should not see: Go ends a program whose
// stack grows too far, and nothing can recover it, so that a file of brackets would end
// one that serves others. And it holds what expressions build, and how long they take,
// to a Budget: a small file can describe a value that no machine holds.
//
// It says nothing of what a text means, and does not look at what a value is for.
package bounds

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hashicorp/hcl/v2"
)

// What is read at most. A job of 1,000 groups with several sidecars in each is well
// below; Nomad itself keeps no source of more than 1 MB unless it is told to
// (job_max_source_size).
const (
	// HCLBytes is for a job file, and JSONBytes for a job in JSON, which is longer.
	HCLBytes  = 8 << 20
	JSONBytes = 32 << 20
	// DefinitionBytes is for a definition, a policy and a file of variables.
	DefinitionBytes = 1 << 20
	// Levels is how deep blocks, brackets, templates and operators may nest.
	Levels = 500
)

// Read reads no more than one byte over most, by which Size finds that it was more.
func Read(r io.Reader, most int) ([]byte, error) { return io.ReadAll(io.LimitReader(r, int64(most)+1)) }

// ReadFS is Read for a file.
func ReadFS(fsys fs.FS, name string, most int) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, most)
}

// ReadFile is Read for a file of the machine.
func ReadFile(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, most)
}

// Size finds where a text is longer than most; nil where it is not.
func Size(src []byte, name string, most int) *hcl.Diagnostic {
	if len(src) <= most {
		return nil
	}
	return problem(Place(src, name, most), "File too large",
		fmt.Sprintf("It has more than %s. Nothing that long is read; check whether it is the right file.", size(most)))
}

func size(bytes int) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// Place is that of the byte at an offset.
func Place(src []byte, name string, offset int) hcl.Range {
	before := src[:min(offset, len(src))]
	pos := hcl.Pos{Line: bytes.Count(before, []byte("\n")) + 1, Column: len(before) - bytes.LastIndexByte(before, '\n'), Byte: len(before)}
	return hcl.Range{Filename: name, Start: pos, End: pos}
}

func problem(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: at.Ptr()}
}

func tooDeep(at hcl.Range) *hcl.Diagnostic {
	return problem(at, "Nested too deeply",
		fmt.Sprintf("Here blocks, brackets or operators nest more than %d levels deep. Simplify it.", Levels))
}

// JSON finds where valid or invalid JSON nests too deeply, by its offset; -1 if
// nowhere.
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
