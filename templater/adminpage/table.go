package adminpage

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// pageRows is the number of rows per page of a table.
const pageRows = 200

// column is a column of a table. A column without an order is not sortable.
type column[T any] struct {
	key, title string
	compare    func(a, b T) int
}

// table is common to all rows of one kind.
type table[T any] struct {
	path    string
	columns []column[T]
	text    func(T) string // the text that the filter matches
	// state returns the state of a row for the filter by state; nil for no such filter.
	state func(T) string
}

// query is the query of a page's address.
type query struct {
	Text    string
	State   string
	Sort    string // "" for the order that rows come in
	Reverse bool
	Page    int // from 1
}

// parse parses a query.
func (t *table[T]) parse(values url.Values) (query, error) {
	q := query{Text: strings.TrimSpace(values.Get("q")), State: values.Get("state"), Sort: values.Get("sort"), Page: 1}
	sortable := func(c column[T]) bool { return c.key == q.Sort && c.compare != nil }
	if q.Sort != "" && !slices.ContainsFunc(t.columns, sortable) {
		return q, fmt.Errorf("sort=%q is not a sortable column", q.Sort)
	}
	switch order := values.Get("order"); order {
	case "", "asc":
	case "desc":
		q.Reverse = true
	default:
		return q, fmt.Errorf("order=%q is not an order: use asc or desc", order)
	}
	if text := values.Get("page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return q, fmt.Errorf("page=%q must be a number of at least 1", text)
		}
		q.Page = n
	}
	return q, nil
}

// url returns the address for a query, without defaults.
func (t *table[T]) url(q query) string {
	values := url.Values{}
	for name, value := range map[string]string{"q": q.Text, "state": q.State, "sort": q.Sort} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if q.Reverse {
		values.Set("order", "desc")
	}
	if q.Page > 1 {
		values.Set("page", strconv.Itoa(q.Page))
	}
	if len(values) == 0 {
		return t.path
	}
	return t.path + "?" + values.Encode()
}

// shown is one page of rows and the links to others.
type shown[T any] struct {
	Rows          []T
	Matching, All int
	Columns       []columnView
	States        []stateView
	Pages, Page   int
	Before, After string // addresses, "" if there is no such page
	Reset         string
	Query         query
}

type columnView struct {
	Key, Title string
	URL        string // "" if the column is not sortable
	Sorted     string // as in aria-sort
}

type stateView struct {
	Name  string // "" for all
	Rows  int
	URL   string
	Shown bool
}

// show filters, sorts and paginates. It may reorder rows.
func (t *table[T]) show(rows []T, q query) *shown[T] {
	out := &shown[T]{All: len(rows), Query: q, Reset: t.path}
	words := strings.Fields(strings.ToLower(q.Text))
	rows = slices.DeleteFunc(rows, func(row T) bool { return !matches(strings.ToLower(t.text(row)), words) })
	if t.state != nil {
		out.States = t.states(rows, q)
		rows = slices.DeleteFunc(rows, func(row T) bool { return q.State != "" && t.state(row) != q.State })
	}
	for _, c := range t.columns {
		if c.key == q.Sort {
			slices.SortStableFunc(rows, c.compare)
		}
		out.Columns = append(out.Columns, t.column(c, q))
	}
	if q.Reverse {
		slices.Reverse(rows)
	}
	out.Matching, out.Pages = len(rows), max(1, (len(rows)+pageRows-1)/pageRows)
	out.Page = min(q.Page, out.Pages)
	out.Rows = rows[(out.Page-1)*pageRows : min(out.Page*pageRows, len(rows))]
	out.Before, out.After = t.turned(q, out.Page-1, out.Pages), t.turned(q, out.Page+1, out.Pages)
	return out
}

func matches(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func (t *table[T]) turned(q query, to, pages int) string {
	if to < 1 || to > pages {
		return ""
	}
	q.Page = to
	return t.url(q)
}

func (t *table[T]) column(c column[T], q query) columnView {
	v := columnView{Key: c.key, Title: c.title, Sorted: "none"}
	if c.compare == nil {
		return v
	}
	next := query{Text: q.Text, State: q.State, Sort: c.key}
	if c.key == q.Sort {
		v.Sorted = map[bool]string{false: "ascending", true: "descending"}[q.Reverse]
		next.Reverse = !q.Reverse
	}
	v.URL = t.url(next)
	return v
}

// states returns the states of the rows, with links to filter by one or by none.
func (t *table[T]) states(rows []T, q query) []stateView {
	count := map[string]int{q.State: 0}
	for _, row := range rows {
		count[t.state(row)]++
	}
	delete(count, "")
	link := query{Text: q.Text, Sort: q.Sort, Reverse: q.Reverse}
	out := []stateView{{Rows: len(rows), URL: t.url(link), Shown: q.State == ""}}
	for name, n := range count {
		link.State = name
		out = append(out, stateView{Name: name, Rows: n, URL: t.url(link), Shown: q.State == name})
	}
	slices.SortFunc(out, func(a, b stateView) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
