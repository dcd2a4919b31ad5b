// Package shippertest provides receivers for tests of the log-shipper: HTTP and
// syslog receivers that discard duplicates, as the README asks of receivers, and
// readers of the received lines.
//
// It is not part of the program.
package shippertest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Line is a received line in any format.
type Line struct{ Task, Stream, Message string }

// Receiver stores received data. Data with a known ID is stored once and must be
// identical.
type Receiver struct {
	mu    sync.Mutex
	seen  map[string]string // ID → content
	order []string          // contents
	wrong []error
	asked int
}

// take stores the content of an ID.
func (r *Receiver) take(id, content string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, again := r.seen[id]; again {
		if before != content {
			r.wrong = append(r.wrong, fmt.Errorf("%s came with %q and with %q", id, before, content))
		}
		return
	}
	if r.seen == nil {
		r.seen = map[string]string{}
	}
	r.seen[id] = content
	r.order = append(r.order, content)
}

// text returns everything received.
func (r *Receiver) text() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.order, ""), errors.Join(r.wrong...)
}

// ServeHTTP receives batches. It refuses one of twenty and stores one of twenty
// without a response.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return // the shipper was killed
	}
	r.mu.Lock()
	r.asked++
	turn := r.asked % 20
	r.mu.Unlock()
	if turn == 3 {
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	r.take(request.Header.Get("Idempotency-Key"), string(body))
	if turn == 4 {
		panic(http.ErrAbortHandler)
	}
}

// HTTPLines returns the lines of all batches received.
func (r *Receiver) HTTPLines() ([]Line, error) {
	text, err := r.text()
	if err != nil {
		return nil, err
	}
	return FromJSON(text)
}

// FromJSON reads JSON lines up to the last complete one and joins pieces.
func FromJSON(text string) ([]Line, error) {
	var all []Line
	pieces := map[Line]string{} // by task and stream
	for line := range strings.Lines(text[:strings.LastIndexByte(text, '\n')+1]) {
		var d struct {
			Task, Stream, Message string
			Partial               bool
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		key := Line{Task: d.Task, Stream: d.Stream}
		pieces[key] += d.Message
		if !d.Partial {
			all = append(all, Line{d.Task, d.Stream, pieces[key]})
			delete(pieces, key)
		}
	}
	for key, begun := range pieces {
		all = append(all, Line{key.Task, key.Stream, begun})
	}
	return all, nil
}

// ServeSyslog receives syslog over TCP until the listener is closed, and returns
// when all connections have ended.
func (r *Receiver) ServeSyslog(l net.Listener) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		connections.Go(func() {
			defer conn.Close()
			r.messages(bufio.NewReader(conn))
		})
	}
}

func (r *Receiver) messages(in *bufio.Reader) {
	for {
		count, err := in.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(count, " "))
		message := make([]byte, max(n, 0))
		if err == nil {
			_, err = io.ReadFull(in, message)
		}
		if err != nil {
			return // cut off by a kill
		}
		id, _ := messageID(string(message))
		r.take(id, string(message)+"\n")
	}
}

// message matches a message of log-shipper: APP-NAME, PROCID, MSGID,
// sequenceId and the text.
var message = regexp.MustCompile(`^<\d+>1 \S+ \S+ (\S+) (\S+) (\S+) \[meta sequenceId="(\d+)"\]\S* (.*)$`)

// messageID returns the unique ID of a message and its line.
func messageID(text string) (string, Line) {
	m := message.FindStringSubmatch(text)
	if m == nil {
		return text, Line{Message: "not a message: " + text}
	}
	return m[2] + " " + m[4], Line{m[1], m[3], m[5]}
}

// SyslogLines returns the received messages with pieces not joined.
func (r *Receiver) SyslogLines() ([]Line, error) {
	text, err := r.text()
	var all []Line
	for line := range strings.Lines(text) {
		_, l := messageID(strings.TrimSuffix(line, "\n"))
		all = append(all, l)
	}
	return all, err
}

// Counted checks that each stream, "TASK STREAM", counts up from 1 in the first word
// of its messages, and returns the last numbers.
func Counted(lines []Line) (map[string]int, error) {
	last := map[string]int{}
	for _, line := range lines {
		stream := line.Task + " " + line.Stream
		word, _, _ := strings.Cut(line.Message, " ")
		if word != strconv.Itoa(last[stream]+1) {
			return last, fmt.Errorf("in %s %q comes after %d", stream, line.Message, last[stream])
		}
		last[stream]++
	}
	return last, nil
}
