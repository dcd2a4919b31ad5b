package main

import (
	"fmt"
	"strings"
	"time"
)

func humanBytes(n uint64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	case n < 100<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n < 1<<30:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	}
}

func humanCPUTime(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.2fs", seconds)
	}
	return humanAge(time.Duration(seconds * float64(time.Second)))
}

// humanAge keeps the two largest units.
func humanAge(age time.Duration) string {
	s := int64(max(0, age) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm %02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh %02dm", s/3600, s%3600/60)
	default:
		return fmt.Sprintf("%dd %02dh", s/86400, s%86400/3600)
	}
}

// stateWord returns a word for a state letter of proc(5).
func stateWord(letter string) string {
	switch letter {
	case "R":
		return "running"
	case "S":
		return "sleeping"
	case "D":
		return "disk wait"
	case "Z":
		return "zombie"
	case "T":
		return "stopped"
	case "t":
		return "traced"
	case "I":
		return "idle"
	case "X":
		return "dead"
	default:
		return "unknown"
	}
}

// stateMeaning explains words that are not self-explanatory.
func stateMeaning(letter string) string {
	switch letter {
	case "D":
		return "waiting for a device, and cannot be interrupted"
	case "Z":
		return "has ended, and its parent has not read its exit status"
	case "t":
		return "stopped by a debugger"
	default:
		return ""
	}
}

// splitCommand splits a command line into the directory of the program, its name and
// the arguments. Concatenated, the parts are the line again.
func splitCommand(line string) (dir, program, args string) {
	end := strings.IndexByte(line, ' ')
	if end < 0 {
		end = len(line)
	}
	name := strings.LastIndexByte(line[:end], '/') + 1
	if name == end { // no program name: keep the line whole
		name = 0
	}
	return line[:name], line[name:end], line[end:]
}
