package analyze

import "fmt"

// Severity says how certain and how bad a finding is.
type Severity int

// Severities, from the least to the most severe. Off suppresses a code.
const (
	Off     Severity = iota
	Info             // worth knowing; the job may be right
	Warning          // it works until something stops, moves or is updated
	Error            // it cannot work
)

// Severities are the names of all severities, in their order.
func Severities() []string { return []string{"off", "info", "warning", "error"} }

func (s Severity) String() string { return Severities()[s] }

// ParseSeverity reads the name of a severity.
func ParseSeverity(name string) (Severity, error) {
	for i, n := range Severities() {
		if n == name {
			return Severity(i), nil
		}
	}
	return Off, fmt.Errorf("%q is not a severity: use error, warning, info or off", name)
}

// Code is a kind of finding.
type Code struct {
	ID, Name string
	Severity Severity // the default
	// Text is the message. Its verbs are %s, %q and %d.
	Text string
	Fix  string
	// Why explains the fault and its exceptions in the documentation.
	Why string
	// Reports are public reports of the fault.
	Reports []string
}

// Codes returns all codes in the order of their numbers. An ID is never used for another fault.
func Codes() []Code {
	var out []Code
	for _, area := range areas() {
		out = append(out, area.codes...)
	}
	return out
}

// Find returns the code with an ID.
func Find(id string) (Code, bool) {
	for _, c := range Codes() {
		if c.ID == id {
			return c, true
		}
	}
	return Code{}, false
}

// area is a section of the documentation.
type area struct {
	title string
	codes []Code
}

func areas() []area {
	return []area{
		{"Sidecars", choiceCodes()},
		{"Network and services", networkCodes()},
		{"Start and stop", lifecycleCodes()},
		{"Images and files", fileCodes()},
		{"Memory", memoryCodes()},
		{"The pod driver", podCodes()},
	}
}

const (
	issues   = "https://github.com/hashicorp/nomad/issues/"
	pulls    = "https://github.com/hashicorp/nomad/pull/"
	istio    = "https://istio.io/latest/docs/reference/config/analysis/"
	kubeDocs = "https://github.com/zegl/kube-score/blob/master/README_CHECKS.md"
)

func choiceCodes() []Code {
	return []Code{
		{
			ID: "NS1001", Name: "InjectionFails", Severity: Error,
			Text: "\"inject\" refuses the job: %s",
			Fix:  "Follow the message, or see \"nomad-sidecar explain\".",
			Why: "A sidecar that the job chooses cannot be injected, or a rule of the policy denies the job; \"run\" and " +
				"\"serve\" refuse it too. The job is then checked without sidecars.",
		},
		{
			ID: "NS1002", Name: "ChoiceWithoutEffect", Severity: Warning,
			Text: "%s",
			Fix:  "Correct the key or the name, or remove it.",
			Why: "A key in meta that looks like a choice of sidecars does nothing: it is misspelt, is in the meta of a task, " +
				"or names a sidecar that nothing chooses or that the catalog lacks.",
			Reports: []string{istio + "ist0107/", istio + "ist0108/"},
		},
		{
			ID: "NS1003", Name: "SidecarLeftOut", Severity: Info,
			Text: "%s",
			Fix:  "None, if that is intended.",
			Why:  "A sidecar that something chooses is excluded or skipped, or another warning of \"inject\".",
		},
	}
}

func networkCodes() []Code {
	return []Code{
		{
			ID: "NS1010", Name: "UndeclaredPort", Severity: Error,
			Text: "%s names port %q, but group %q declares no such port.%s",
			Fix:  "Declare it with port \"LABEL\" { } in the group's network block, or correct the label.",
			Why: "A service, a check, or the `ports` of a docker, podman or pod task. Nomad refuses the job or fails its " +
				"allocation. Labels with `${…}`, and those of ports that Nomad adds for Connect, are not checked; docker " +
				"and podman ignore `ports` in a bridge network.",
			Reports: []string{issues + "8770"},
		},
		{
			ID: "NS1011", Name: "LiteralPortUnreachable", Severity: Warning,
			Text: "%s uses port %d of the host, but group %q has a network of its own and maps no such port: no task can listen there.",
			Fix: "Declare a port with to = NUMBER and use its label, or set address_mode = \"alloc\" for a service of the " +
				"group: in the check too, which does not inherit it.",
			Why: "In bridge and CNI networks a number in `port` is a port of the host's address, where no task of the group " +
				"listens. `address_mode = \"alloc\"` uses the address of the pod. A check has its own `address_mode`, by " +
				"default `host`, even if its service has another. Services with `connect` are reached through their " +
				"proxy, so only their checks count; `expose` gives these a port.",
			Reports: []string{issues + "3380", issues + "17257", pulls + "3619"},
		},
		{
			ID: "NS1012", Name: "PortClash", Severity: Warning,
			Text: "Ports %q and %q of group %q both lead to port %d inside, which tasks %q and %q use: only one of them can listen.",
			Fix:  "Give the two tasks different ports, with different `to`.",
			Why: "The tasks of a group with a bridge or CNI network share it, so that a second task cannot listen on the same " +
				"port. Reported if two ports with the same `to` belong to services, or `ports`, of different tasks that may run at " +
				"the same time. Nomad does not check `to`. A port has no protocol: it is no fault if one task uses TCP and the other UDP.",
		},
		{
			ID: "NS1013", Name: "PortWithoutTo", Severity: Info,
			Text: "Port %q of group %q has no \"to\", so the port inside is the one that Nomad picks, and nothing in the job reads NOMAD_PORT_%s.",
			Fix:  "Set to = NUMBER if the program listens on a fixed port.",
			Why: "In bridge and CNI networks, a dynamic port without `to` has the same number inside and outside. A program " +
				"that does not read the variable listens elsewhere. It may read the variable without the job's text saying so; " +
				"therefore this is an info. Not reported if the data of a template is in a file.",
			Reports: []string{issues + "18193"},
		},
		{
			ID: "NS1014", Name: "ToWithoutEffect", Severity: Warning,
			Text: "Port %q of group %q has to = %d, but in the host's network nothing maps it: a program must listen on %s.",
			Fix:  "Use mode = \"bridge\" in the network block, or remove `to` and let the program listen on NOMAD_PORT_LABEL.",
			Why: "Only a bridge or CNI network, or a driver such as docker that maps `ports` itself, honours `to`. Reported if all " +
				"tasks of the group have the driver exec, exec2, raw_exec, java or pod.",
			Reports: []string{issues + "18193"},
		},
		{
			ID: "NS1015", Name: "PortNotPublished", Severity: Warning,
			Text: "%s names port %q, but no docker task of group %q publishes it: no task can listen there.",
			Fix:  "Add the label to `ports` of the task's config, or use mode = \"bridge\" in the group's network block.",
			Why: "Without a bridge network of the group, a docker task has a network of docker's, and only the ports that its " +
				"config lists are published. Not reported if a task has another driver, a `network_mode`, or an unknown config.",
			Reports: []string{issues + "9007", issues + "8770"},
		},
		{
			ID: "NS1016", Name: "PortMapWithGroupPorts", Severity: Error,
			Text: "Task %q of group %q has port_map, but the ports are the group's: docker cannot map them.",
			Fix:  "List the labels in `ports`, and set `to` in the port blocks.",
			Why: "`port_map` is for the networks of a task, in its `resources`. With ports of the group and none of the task, the " +
				"docker driver fails the task.",
			Reports: []string{issues + "9710"},
		},
		{
			ID: "NS1017", Name: "UndeclaredPortVariable", Severity: Warning,
			Text: "Task %q of group %q reads %s, but the group declares no port %q.%s",
			Fix:  "Declare the port, or correct the name of the variable.",
			Why: "Nomad sets variables such as `NOMAD_PORT_http` for declared ports only; in a text the reference stays unchanged, " +
				"and `env \"…\"` in a template is empty. Variables of ports that Nomad adds for Connect are not checked.",
			Reports: []string{issues + "27058", issues + "3038"},
		},
		{
			ID: "NS1018", Name: "ServiceWithoutCheck", Severity: Info,
			Text: "Service %q of group %q has no check: it counts as healthy as soon as its task runs.",
			Fix:  "Add a check block, so that clients and updates wait until the service answers.",
			Why:  "Gateways and Connect-native services, and services without a port, are not reported.",
			Reports: []string{
				kubeDocs,
			},
		},
	}
}
