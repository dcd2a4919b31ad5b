package bounds

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Functions returns the given functions for one evaluation, with limits on functions with results that may
// be much larger than their arguments. The results of all others are proportional to
// their arguments, which are counted.
func Functions(all map[string]function.Function) map[string]function.Function {
	out := maps.Clone(all)
	for name, check := range map[string]func([]cty.Value) error{
		"format": formats, "formatlist": formats, "join": joins, "replace": replaces, "regex_replace": replaces, "setproduct": multiplies,
		"indent": indents, "split": splits, "jsondecode": decodesJSON, "yamldecode": decodesYAML, "csvdecode": decodesCSV, "distinct": compares,
		"trim": trims, "bcrypt": hashing(), "parseint": parses,
	} {
		if f, ok := out[name]; ok {
			out[name] = checked(f, check)
		}
	}
	return out
}

// checked calls a function only if its arguments pass a check. All arguments are known.
// The check also precedes the function's type callback, which may do the work.
func checked(f function.Function, check func([]cty.Value) error) function.Function {
	return function.New(&function.Spec{
		Description: f.Description(), Params: f.Params(), VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			for _, a := range args {
				if !a.IsWhollyKnown() {
					return f.ReturnTypeForValues(args)
				}
			}
			if err := check(args); err != nil {
				return cty.DynamicPseudoType, refusal{err}
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// refusal is the error of a function with a result that would be too large. It ends the
// evaluation, so that parsers without bounds do not call the function again.
type refusal struct{ error }

func refused(diags hcl.Diagnostics) *hcl.Diagnostic {
	for _, d := range diags {
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok {
			var r refusal
			if errors.As(call.FunctionCallError(), &r) {
				return d
			}
		}
	}
	return nil
}

func tooLarge(bytes int) error {
	if bytes > ValueBytes || bytes < 0 {
		return fmt.Errorf("the result would have more than %d MiB", ValueBytes>>20)
	}
	return nil
}

// times multiplies and saturates on overflow.
func times(a, b int) int {
	if a > 0 && b > ValueBytes/a {
		return ValueBytes + 1
	}
	return a * b
}

func text(args []cty.Value, i int) string {
	if i >= len(args) || args[i].IsNull() || args[i].Type() != cty.String {
		return ""
	}
	return args[i].AsString()
}

func whole(args []cty.Value, i int) int {
	if i >= len(args) || args[i].IsNull() || args[i].Type() != cty.Number {
		return 0
	}
	n, _ := args[i].AsBigFloat().Int64()
	return int(min(max(n, 0), ValueBytes+1))
}

func length(v cty.Value) int {
	if v.IsNull() || !v.CanIterateElements() {
		return 0
	}
	return v.LengthInt()
}

func total(args []cty.Value) int {
	sum := 0
	for _, a := range args {
		size, _ := measure(a, ValueBytes)
		sum += size
	}
	return sum
}

var widths = regexp.MustCompile(`[0-9]+`)

func formats(args []cty.Value) error {
	spec, width, lists := text(args, 0), 0, 1
	for _, digits := range widths.FindAllString(spec, -1) {
		n, err := strconv.Atoi(digits)
		if err != nil || n > ValueBytes {
			n = ValueBytes + 1
		}
		width = min(width+n, ValueBytes+1)
	}
	for _, a := range args {
		if t := a.Type(); t.IsListType() || t.IsTupleType() || t.IsSetType() {
			lists = max(lists, length(a))
		}
	}
	return tooLarge(times(lists, len(spec)+width+times(strings.Count(spec, "%"), total(args[min(1, len(args)):]))))
}

func joins(args []cty.Value) error {
	items := 0
	for _, a := range args[min(1, len(args)):] {
		items += length(a)
	}
	return tooLarge(total(args) + times(items, len(text(args, 0))))
}

func replaces(args []cty.Value) error {
	in, old, by := text(args, 0), text(args, 1), text(args, 2)
	places := len(in) + 1
	if !strings.ContainsAny(old, `\.+*?()|[]{}^$/`) && old != "" {
		places = strings.Count(in, old)
	}
	return tooLarge(len(in) + times(places, len(by)) + times(strings.Count(by, "$"), len(in)))
}

func multiplies(args []cty.Value) error {
	product := itemBytes * len(args)
	for _, a := range args {
		product = times(product, length(a))
	}
	return tooLarge(product)
}

func indents(args []cty.Value) error {
	in := text(args, 1)
	return tooLarge(len(in) + times(strings.Count(in, "\n")+1, whole(args, 0)))
}

func splits(args []cty.Value) error {
	return tooLarge(times(strings.Count(text(args, 1), text(args, 0))+1, itemBytes))
}

func decodesJSON(args []cty.Value) error {
	in := text(args, 0)
	if JSON([]byte(in)) >= 0 {
		return fmt.Errorf("it is nested more than %d levels deep", Levels)
	}
	return tooLarge(times(strings.Count(in, ",")+strings.Count(in, "[")+strings.Count(in, "{"), itemBytes))
}

// alias matches a YAML alias: nested aliases produce values of exponential size.
var alias = regexp.MustCompile(`(?m)(?:^|[\s\[,{:-])\*[A-Za-z0-9_]`)

const maxAliases = 8

func decodesYAML(args []cty.Value) error {
	in := text(args, 0)
	for line := range strings.Lines(in) {
		if strings.Count(line, "- ")+strings.Count(line, "? ")+strings.Count(line, ": ") > Levels {
			return fmt.Errorf("it is nested more than %d levels deep", Levels)
		}
	}
	if len(alias.FindAllString(in, maxAliases+1)) > maxAliases {
		return fmt.Errorf("it has more than %d aliases", maxAliases)
	}
	if err := decodesJSON(args); err != nil {
		return err
	}
	return tooLarge(times(strings.Count(in, "\n"), itemBytes))
}

func decodesCSV(args []cty.Value) error {
	in := text(args, 0)
	header, _, _ := strings.Cut(in, "\n")
	return tooLarge(times(strings.Count(in, "\n"), len(header)+itemBytes*(strings.Count(header, ",")+1)))
}

// compares checks functions that compare each item with each other.
func compares(args []cty.Value) error {
	const most = 2_000
	if len(args) > 0 && length(args[0]) > most {
		return fmt.Errorf("the list has more than %d items", most)
	}
	return nil
}

func trims(args []cty.Value) error {
	const most = 64
	if in, signs := text(args, 0), text(args, 1); len(signs) > most && times(len(in), len(signs)) > ValueBytes {
		return fmt.Errorf("there are more than %d characters to trim", most)
	}
	return nil
}

// hashing returns a check that limits the cost of one hash and of all hashes together: each step of
// the cost doubles the time.
func hashing() func([]cty.Value) error {
	const most, together, standard = 14, 1 << 18, 10
	var done atomic.Int64
	return func(args []cty.Value) error {
		cost := standard
		if len(args) > 1 {
			cost = whole(args, 1)
		}
		if cost > most {
			return fmt.Errorf("the cost is more than %d, which takes seconds to days", most)
		}
		if done.Add(1<<cost) > together {
			return fmt.Errorf("the hashes up to here take more time than %d of the default cost", together>>standard)
		}
		return nil
	}
}

func parses(args []cty.Value) error {
	if len(text(args, 0)) > exponentBits {
		return errors.New("the number is too large to be written in decimal")
	}
	return nil
}
