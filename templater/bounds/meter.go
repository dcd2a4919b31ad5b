package bounds

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Meter prepares all expressions of a body for evaluation within a Budget, which then
// counts intermediate values too. Evaluations without a budget share one per body.
func Meter(body *hclsyntax.Body) hcl.Diagnostics {
	m := &meter{own: NewBudget()}
	m.body(body)
	return m.diags
}

// MeterExpression is Meter for a single expression.
func MeterExpression(expr hclsyntax.Expression) hcl.Diagnostics {
	m := &meter{own: NewBudget()}
	m.within(expr)
	return m.diags
}

type meter struct {
	own   *Budget
	diags hcl.Diagnostics
}

func (m *meter) body(body *hclsyntax.Body) {
	for _, a := range body.Attributes {
		m.within(a.Expr)
	}
	for _, b := range body.Blocks {
		m.body(b.Body)
	}
}

// count wraps an expression, so that each evaluation is counted.
func (m *meter) count(expr *hclsyntax.Expression) {
	switch e := (*expr).(type) {
	case nil, metered:
		return
	case *hclsyntax.LiteralValueExpr:
		m.within(e)
		return
	}
	m.within(*expr)
	*expr = metered{&hclsyntax.ParenthesesExpr{Expression: *expr, SrcRange: (*expr).Range()}, m.own}
}

// within visits the parts of an expression. It counts parts that are combined with
// others, evaluated in each iteration of a loop, or converted to text.
func (m *meter) within(expr hclsyntax.Expression) {
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		if _, written := measure(e.Val, ValueBytes); !written && e.Val.Type() == cty.Number {
			m.diags = append(m.diags, problem(e.SrcRange, "Number out of range", "This number is too large or too small to be written in decimal."))
		}
	case *hclsyntax.ParenthesesExpr:
		m.within(e.Expression)
	case *hclsyntax.FunctionCallExpr:
		for i := range e.Args {
			m.count(&e.Args[i])
		}
	case *hclsyntax.TemplateExpr:
		for i := range e.Parts {
			m.count(&e.Parts[i])
		}
	case *hclsyntax.TemplateJoinExpr:
		m.within(e.Tuple)
	case *hclsyntax.TemplateWrapExpr:
		m.within(e.Wrapped)
	case *hclsyntax.ForExpr:
		m.within(e.CollExpr)
		for _, part := range []*hclsyntax.Expression{&e.KeyExpr, &e.ValExpr, &e.CondExpr} {
			m.round(part)
		}
	case *hclsyntax.SplatExpr:
		m.within(e.Source)
		m.round(&e.Each)
	case *hclsyntax.ConditionalExpr:
		m.within(e.Condition)
		m.count(&e.TrueResult)
		m.count(&e.FalseResult)
	default:
		m.plain(expr)
	}
}

// round is count for expressions evaluated in each iteration of a loop, constants included.
func (m *meter) round(expr *hclsyntax.Expression) {
	if literal, ok := (*expr).(*hclsyntax.LiteralValueExpr); ok {
		m.within(literal)
		*expr = metered{&hclsyntax.ParenthesesExpr{Expression: literal, SrcRange: literal.SrcRange}, m.own}
		return
	}
	m.count(expr)
}

// plain is within for expressions with a value that is not larger than their parts.
func (m *meter) plain(expr hclsyntax.Expression) {
	switch e := expr.(type) {
	case *hclsyntax.TupleConsExpr:
		for _, item := range e.Exprs {
			m.within(item)
		}
	case *hclsyntax.ObjectConsExpr:
		for _, item := range e.Items {
			if key, ok := item.KeyExpr.(*hclsyntax.ObjectConsKeyExpr); ok && key.ForceNonLiteral {
				m.count(&key.Wrapped)
			} else if ok {
				m.within(key.Wrapped)
			}
			m.within(item.ValueExpr)
		}
	case *hclsyntax.IndexExpr:
		m.within(e.Collection)
		m.count(&e.Key)
	case *hclsyntax.RelativeTraversalExpr:
		m.within(e.Source)
	case *hclsyntax.BinaryOpExpr:
		m.within(e.LHS)
		m.within(e.RHS)
	case *hclsyntax.UnaryOpExpr:
		m.within(e.Val)
	}
}
