package bounds

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Limits of expressions. The size of a value is the bytes of its strings plus itemBytes per item.
const (
	// ValueBytes limits one value, BuiltBytes all values of one evaluation.
	ValueBytes = 16 << 20
	BuiltBytes = 64 << 20
	// Steps limits loop iterations, calls, templates and conditionals.
	Steps = 500_000

	itemBytes = 32
	// errorSteps makes a loop that fails in each iteration end early.
	errorSteps = 1_000
	// blockSteps is the cost of a generated block.
	blockSteps = 10
	// exponentBits limits numbers that are written in decimal: the digits of
	// 1e999999999 would take minutes and gigabytes.
	exponentBits = 4096
)

// Budget tracks what remains for one evaluation: of a file, or of a definition in
// one group.
type Budget struct {
	steps, bytes atomic.Int64
	over         atomic.Pointer[hcl.Diagnostic]
}

// NewBudget returns a full budget.
func NewBudget() *Budget {
	b := &Budget{}
	b.steps.Store(Steps)
	b.bytes.Store(BuiltBytes)
	return b
}

// budgetName is not a valid variable name.
const budgetName = "\x00budget"

// In adds the budget to the context of expressions prepared by Meter.
func (b *Budget) In(ctx *hcl.EvalContext) *hcl.EvalContext {
	ctx.Variables[budgetName] = cty.CapsuleVal(cty.Capsule("budget", reflect.TypeFor[Budget]()), b)
	return ctx
}

// Exceeded returns the error of the first expression that exceeded the budget, nil if
// none has. Functions such as try may hide that error from the caller.
func (b *Budget) Exceeded() hcl.Diagnostics {
	if d := b.over.Load(); d != nil {
		return hcl.Diagnostics{d}
	}
	return nil
}

// Take counts a block that a dynamic block generates.
func (b *Budget) Take(at hcl.Range) bool { return b.take(cty.NilVal, blockSteps, at) }

// take counts a value and reports whether it is within bounds.
func (b *Budget) take(v cty.Value, steps int64, at hcl.Range) bool {
	if b.over.Load() != nil {
		return false
	}
	var d *hcl.Diagnostic
	size, written := measure(v, ValueBytes)
	switch {
	case !written:
		d = problem(at, "Number out of range", "A number here is too large or too small to be written in decimal.")
	case size > ValueBytes:
		d = problem(at, "Value too large", fmt.Sprintf("This value has more than %d MiB. Make it smaller, or let the task read it from its source.", ValueBytes>>20))
	case b.bytes.Add(-int64(size)) < 0:
		d = problem(at, "Values too large together", fmt.Sprintf("Up to here expressions have created values of more than %d MiB. Simplify them.", BuiltBytes>>20))
	case b.steps.Add(-steps) < 0:
		d = problem(at, "Expressions take too long", fmt.Sprintf("Up to here expressions have taken more than %d steps, most likely in loops within loops. Simplify them.", Steps))
	default:
		return true
	}
	b.over.CompareAndSwap(nil, d)
	return false
}

// measure returns the approximate size of a value, counting to at most most, and whether
// its numbers can be written in decimal. A value may contain another one many times, so
// its size in memory is not meaningful.
func measure(v cty.Value, most int) (size int, written bool) {
	if v == cty.NilVal {
		return 0, true
	}
	v, _ = v.Unmark()
	size = itemBytes
	switch {
	case !v.IsKnown() || v.IsNull():
	case v.Type() == cty.String:
		size += len(v.AsString())
	case v.Type() == cty.Number:
		f := v.AsBigFloat()
		exp := f.MantExp(nil)
		return size, !f.IsInf() && exp <= exponentBits && exp >= -exponentBits
	case v.CanIterateElements():
		keyed := v.Type().IsMapType() || v.Type().IsObjectType()
		for it := v.ElementIterator(); it.Next() && size <= most; {
			key, e := it.Element()
			if keyed {
				size += len(key.AsString())
			}
			more, ok := measure(e, most-size)
			if size += more; !ok {
				return size, false
			}
		}
	}
	return size, true
}

// SizeOf returns the approximate size of a value within bounds.
func SizeOf(v cty.Value) int {
	size, _ := measure(v, ValueBytes)
	return size
}

// Check returns an error if a value is out of bounds.
func Check(v cty.Value) error {
	size, written := measure(v, ValueBytes)
	switch {
	case !written:
		return errors.New("it contains a number that is too large or too small to be written in decimal")
	case size > ValueBytes:
		return fmt.Errorf("it has more than %d MiB", ValueBytes>>20)
	}
	return nil
}

// Value evaluates an expression prepared by Meter within the budget of the context. A
// context without one gets a new budget.
func Value(expr hcl.Expression, ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	b := budgetOf(ctx)
	if b == nil {
		b = NewBudget()
	}
	v, diags := expr.Value(ctx)
	if d := refused(diags); d != nil {
		b.over.CompareAndSwap(nil, d)
	}
	if over := b.Exceeded(); over.HasErrors() {
		return cty.DynamicVal, over
	}
	if !diags.HasErrors() && !b.take(v, 1, expr.Range()) {
		return cty.DynamicVal, b.Exceeded()
	}
	return v, diags
}

func budgetOf(ctx *hcl.EvalContext) *Budget {
	for ; ctx != nil; ctx = ctx.Parent() {
		if v, ok := ctx.Variables[budgetName]; ok {
			return v.EncapsulatedValue().(*Budget)
		}
	}
	return nil
}

// metered wraps a subexpression. Syntax walkers treat it like parentheses.
type metered struct {
	*hclsyntax.ParenthesesExpr
	own *Budget // for evaluations without one
}

func (m metered) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	b := budgetOf(ctx)
	if b == nil {
		b = m.own
	}
	if b.over.Load() != nil {
		return cty.DynamicVal, nil // reported already
	}
	v, diags := m.Expression.Value(ctx)
	steps := int64(1)
	if diags.HasErrors() {
		steps = errorSteps
		if d := refused(diags); d != nil {
			b.over.CompareAndSwap(nil, d)
			return cty.DynamicVal, hcl.Diagnostics{d}
		}
	}
	if before := b.over.Load(); !b.take(v, steps, m.Expression.Range()) && before == nil {
		return cty.DynamicVal, b.Exceeded()
	}
	return v, diags
}

// UnwrapExpression returns the wrapped expression, see hcl.UnwrapExpression.
func (m metered) UnwrapExpression() hcl.Expression { return m.Expression }
