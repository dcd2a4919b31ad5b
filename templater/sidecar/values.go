package sidecar

import "github.com/zclconf/go-cty/cty"

// withoutNulls removes null attributes of objects at any depth.
func withoutNulls(v cty.Value) cty.Value {
	t := v.Type()
	switch {
	case v.IsNull() || (!t.IsObjectType() && !t.IsTupleType()):
		return v
	case t.IsTupleType():
		var out []cty.Value
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			out = append(out, withoutNulls(e))
		}
		return cty.TupleVal(out)
	}
	out := map[string]cty.Value{}
	for k, e := range v.AsValueMap() {
		if !e.IsNull() {
			out[k] = withoutNulls(e)
		}
	}
	return cty.ObjectVal(out)
}

// eachString calls ok for all strings and map keys in a value until it returns false.
func eachString(v cty.Value, ok func(string) bool) bool {
	if v == cty.NilVal || !v.IsKnown() || v.IsNull() {
		return true
	}
	if v.Type() == cty.String {
		return ok(v.AsString())
	}
	if !v.CanIterateElements() {
		return true
	}
	keyed := v.Type().IsMapType() || v.Type().IsObjectType()
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if keyed && !ok(key.AsString()) || !eachString(value, ok) {
			return false
		}
	}
	return true
}
