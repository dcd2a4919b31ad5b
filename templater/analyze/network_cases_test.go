package analyze

import "regexp"

func regexpOf(text string) *regexp.Regexp { return regexp.MustCompile(text) }

// kase is a job, or the content of group "g", and the lines with findings of a code. Line 3 is the
// first of the content.
type kase struct {
	code, name string
	job        string
	lines      []int
	says       string
}

const (
	docker  = "task \"t\" {\n driver = \"docker\"\n config {\n  image = \"a:1\"\n }\n}\n"
	bridge  = "network {\n mode = \"bridge\"\n port \"http\" {\n  to = 80\n }\n}\n"
	hostNet = "network {\n port \"http\" {\n  to = 80\n }\n}\n"
)

func networkCases() []kase {
	return []kase{
		{"NS1010", "service", bridge + docker + `service { port = "htp" }`, []int{15}, `service "" names port "htp", but group "g" declares no such port. Did you mean "http"?`},
		{"NS1010", "declared", bridge + docker + `service { port = "http" }`, nil, ""},
		{"NS1010", "check", bridge + docker + "service {\n name = \"s\"\n port = \"http\"\n check {\n  name = \"up\"\n  type = \"tcp\"\n  port = \"admin\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}", []int{21}, `check "up" of service "s" names port "admin"`},
		{"NS1010", "no network", docker + `service { port = "http" }`, []int{9}, ""},
		{"NS1010", "docker ports in the group's network", bridge + "task \"t\" {\n driver = \"docker\"\n config {\n  ports = [\"web\"]\n }\n}", nil, ""},
		{"NS1010", "pod ports", bridge + "task \"t\" {\n driver = \"pod\"\n config {\n  ports = [\"web\"]\n }\n}", []int{12}, `task "t" names port "web"`},
		{"NS1010", "port of a gateway", docker + "service {\n name = \"s\"\n port = \"connect-mesh-s-lan\"\n connect {\n  gateway {\n   mesh {}\n  }\n }\n}", nil, ""},
		{"NS1010", "docker ports", hostNet + "task \"t\" {\n driver = \"docker\"\n config {\n  ports = [\"http\", \"web\"]\n }\n}", []int{11}, `task "t" names port "web"`},
		{"NS1010", "reference", bridge + docker + `service { port = "${meta.port}" }`, nil, ""},
		{"NS1010", "task network", "task \"t\" {\n driver = \"docker\"\n resources {\n  network {\n   port \"db\" {}\n  }\n }\n service { port = \"db\" }\n}", nil, ""},
		{"NS1010", "port_map", "task \"t\" {\n driver = \"docker\"\n config {\n  port_map {\n   db = 1\n  }\n }\n service {\n  port = \"db\"\n  address_mode = \"driver\"\n }\n}", nil, ""},
		{"NS1010", "unknown network", "variable \"p\" { type = list(string) }\njob \"j\" {\ngroup \"g\" {\nnetwork {\n mode = \"bridge\"\n dynamic \"port\" {\n  for_each = var.p\n  labels = [port.value]\n  content {}\n }\n}\nservice { port = \"x\" }\n" + docker + "}\n}", nil, ""},
		{"NS1010", "unknown label", "variable \"p\" { type = string }\njob \"j\" {\ngroup \"g\" {\nservice { port = var.p }\n" + docker + "}\n}", nil, ""},

		{"NS1011", "service", bridge + docker + `service { port = "8080" }`, []int{15}, `uses port 8080 of the host`},
		{"NS1011", "alloc", bridge + docker + "service {\n port = \"8080\"\n address_mode = \"alloc\"\n}", nil, ""},
		{"NS1011", "alloc, its check at the host", bridge + docker + "service {\n port = \"8080\"\n address_mode = \"alloc\"\n check {\n  type = \"tcp\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}", []int{18}, ""},
		{"NS1011", "alloc, its check too", bridge + docker + "service {\n port = \"8080\"\n address_mode = \"alloc\"\n check {\n  type = \"tcp\"\n  address_mode = \"alloc\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}", nil, ""},
		{"NS1011", "script check", bridge + docker + "service {\n port = \"8080\"\n address_mode = \"alloc\"\n task = \"t\"\n check {\n  type = \"script\"\n  command = \"true\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}", nil, ""},
		{"NS1011", "connect", bridge + docker + "service {\n name = \"s\"\n port = \"8080\"\n connect {\n  sidecar_service {}\n }\n}", nil, ""},
		{"NS1011", "connect, its check", bridge + docker + "service {\n name = \"s\"\n port = \"8080\"\n connect {\n  sidecar_service {}\n }\n check {\n  type = \"http\"\n  path = \"/\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}", []int{21}, ""},
		{"NS1011", "connect, its check exposed", bridge + docker + "service {\n name = \"s\"\n port = \"8080\"\n connect {\n  sidecar_service {}\n }\n check {\n  expose = true\n  type = \"http\"\n  path = \"/\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}", nil, ""},
		{"NS1011", "host", docker + `service { port = "8080" }`, nil, ""},
		{"NS1011", "static", "network {\n mode = \"bridge\"\n port \"a\" {\n  static = 8080\n }\n}\n" + docker + `service { port = "8080" }`, nil, ""},
		{"NS1011", "docker in the host's network", bridge + "task \"t\" {\n driver = \"docker\"\n config {\n  network_mode = \"host\"\n }\n}\n" + `service { port = "8080" }`, nil, ""},
		{"NS1011", "other driver", bridge + "task \"t\" {\n driver = \"mydriver\"\n}\n" + `service { port = "8080" }`, nil, ""},
		{"NS1011", "unknown mode", "variable \"m\" { type = string }\njob \"j\" {\ngroup \"g\" {\nnetwork { mode = var.m }\nservice { port = \"1\" }\n" + docker + "}\n}", nil, ""},

		{"NS1012", "two tasks", "network {\n mode = \"bridge\"\n port \"a\" {\n  to = 80\n }\n port \"b\" {\n  to = 80\n }\n}\n" +
			"task \"t\" {\n driver = \"docker\"\n config {\n  ports = [\"a\"]\n }\n}\ntask \"u\" {\n driver = \"docker\"\n config {\n  ports = [\"b\"]\n }\n}", []int{8}, `Ports "a" and "b" of group "g" both lead to port 80 inside, which tasks "t" and "u" use`},
		{"NS1012", "static and to", "network {\n mode = \"bridge\"\n port \"a\" {\n  static = 80\n }\n port \"b\" {\n  to = 80\n }\n}\n" +
			"service {\n port = \"a\"\n task = \"t\"\n}\nservice {\n port = \"b\"\n task = \"u\"\n}\n" + docker, []int{8}, ""},
		{"NS1012", "one task, two networks", "network {\n mode = \"bridge\"\n port \"a\" {\n  to = 80\n }\n port \"b\" {\n  to = 80\n  host_network = \"public\"\n }\n}\n" +
			"task \"t\" {\n driver = \"docker\"\n config {\n  ports = [\"a\", \"b\"]\n }\n}", nil, ""},
		{"NS1012", "host", "network {\n port \"a\" {\n  to = 80\n }\n port \"b\" {\n  to = 80\n }\n}\n" +
			"task \"t\" {\n driver = \"docker\"\n config {\n  ports = [\"a\"]\n }\n}\ntask \"u\" {\n driver = \"docker\"\n config {\n  ports = [\"b\"]\n }\n}", nil, ""},

		{"NS1012", "one after the other", "network {\n mode = \"bridge\"\n port \"a\" {\n  to = 80\n }\n port \"b\" {\n  to = 80\n }\n}\n" +
			"task \"t\" {\n driver = \"docker\"\n lifecycle { hook = \"prestart\" }\n config {\n  ports = [\"a\"]\n }\n}\ntask \"u\" {\n driver = \"docker\"\n config {\n  ports = [\"b\"]\n }\n}", nil, ""},
		{"NS1012", "beside a sidecar", "network {\n mode = \"bridge\"\n port \"a\" {\n  to = 80\n }\n port \"b\" {\n  to = 80\n }\n}\n" +
			"task \"t\" {\n driver = \"docker\"\n lifecycle {\n  hook = \"prestart\"\n  sidecar = true\n }\n config {\n  ports = [\"a\"]\n }\n}\ntask \"u\" {\n driver = \"docker\"\n lifecycle { hook = \"poststart\" }\n config {\n  ports = [\"b\"]\n }\n}", []int{8}, ""},
		{"NS1012", "unknown hook", "variable \"h\" { type = string }\njob \"j\" {\ngroup \"g\" {\nnetwork {\n mode = \"bridge\"\n port \"a\" {\n  to = 80\n }\n port \"b\" {\n  to = 80\n }\n}\n" +
			"task \"t\" {\n driver = \"docker\"\n lifecycle { hook = var.h }\n config {\n  ports = [\"a\"]\n }\n}\ntask \"u\" {\n driver = \"docker\"\n config {\n  ports = [\"b\"]\n }\n}\n}\n}", nil, ""},

		{"NS1013", "port of an exposed check", "network {\n mode = \"bridge\"\n port \"x\" {}\n}\nservice {\n name = \"s\"\n port = \"80\"\n connect {\n  sidecar_service {}\n }\n check {\n  expose = true\n  type = \"http\"\n  path = \"/\"\n  port = \"x\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}\n" + docker, nil, ""},
		{"NS1013", "port of another check", "network {\n mode = \"bridge\"\n port \"x\" {}\n}\nservice {\n name = \"s\"\n port = \"80\"\n connect {\n  sidecar_service {}\n }\n check {\n  type = \"http\"\n  path = \"/\"\n  port = \"x\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}\n" + docker, []int{5}, ""},
		{"NS1013", "template from a file", "network {\n mode = \"bridge\"\n port \"x\" {}\n}\ntask \"t\" {\n driver = \"docker\"\n template {\n  source = \"local/a\"\n  destination = \"local/b\"\n }\n}", nil, ""},
		{"NS1013", "computed name", "network {\n mode = \"bridge\"\n port \"x\" {}\n}\ntask \"t\" {\n driver = \"docker\"\n template {\n  data = \"{{ printf \\\"NOMAD_PORT_%s\\\" \\\"x\\\" | env }}\"\n  destination = \"local/b\"\n }\n}", nil, ""},
		{"NS1010", "negative number", bridge + docker + `service { port = "-1" }`, []int{15}, `names port "-1"`},
		{"NS1011", "negative number", bridge + docker + `service { port = "-1" }`, nil, ""},
		{"NS1013", "no task", "network {\n mode = \"bridge\"\n port \"x\" {}\n}\n", nil, ""},
		{"NS1017", "set in env", bridge + "task \"t\" {\n driver = \"docker\"\n env { NOMAD_PORT_admin = \"1\" }\n config {\n  args = [\"${NOMAD_PORT_admin}\"]\n }\n}", nil, ""},
		{"NS1017", "another set in env", bridge + "task \"t\" {\n driver = \"docker\"\n env { NOMAD_PORT_other = \"1\" }\n config {\n  args = [\"${NOMAD_PORT_admin}\"]\n }\n}", []int{13}, ""},
		{"NS1013", "not mentioned", "network {\n mode = \"bridge\"\n port \"http\" {}\n}\n" + docker, []int{5}, "nothing in the job reads NOMAD_PORT_http"},
		{"NS1013", "mentioned", "network {\n mode = \"bridge\"\n port \"http\" {}\n}\ntask \"t\" {\n driver = \"docker\"\n env { A = \"${NOMAD_PORT_http}\" }\n}", nil, ""},
		{"NS1013", "mentioned with underscores", "network {\n mode = \"bridge\"\n port \"web-ui\" {}\n}\ntask \"t\" {\n driver = \"docker\"\n config {\n  args = [\"$NOMAD_ADDR_web_ui\"]\n }\n}", nil, ""},
		{"NS1013", "in connect", "network {\n mode = \"bridge\"\n port \"x\" {}\n}\nservice {\n name = \"s\"\n port = \"1\"\n connect {\n  sidecar_service {\n   proxy {\n    expose {\n     path {\n      path = \"/\"\n      protocol = \"http\"\n      local_path_port = 1\n      listener_port = \"x\"\n     }\n    }\n   }\n  }\n }\n}\n" + docker, nil, ""},
		{"NS1013", "gateway", "network {\n mode = \"bridge\"\n port \"x\" {}\n}\nservice {\n name = \"s\"\n port = \"x\"\n connect {\n  gateway {\n   mesh {}\n  }\n }\n}\n" + docker, nil, ""},
		{"NS1013", "static", "network {\n mode = \"bridge\"\n port \"http\" {\n  static = 80\n }\n}\n" + docker, nil, ""},
		{"NS1013", "something unknown", "variable \"a\" { type = string }\njob \"j\" {\ngroup \"g\" {\nnetwork {\n mode = \"bridge\"\n port \"http\" {}\n}\ntask \"t\" {\n driver = \"docker\"\n env { A = var.a }\n}\n}\n}", nil, ""},

		{"NS1014", "raw_exec", hostNet + "task \"t\" {\n driver = \"raw_exec\"\n}", []int{4}, "a program must listen on NOMAD_PORT_http"},
		{"NS1014", "static", "network {\n port \"http\" {\n  static = 8080\n  to = 80\n }\n}\ntask \"t\" {\n driver = \"pod\"\n}", []int{4}, "must listen on 8080"},
		{"NS1014", "equal", "network {\n port \"http\" {\n  static = 80\n  to = 80\n }\n}\ntask \"t\" {\n driver = \"exec\"\n}", nil, ""},
		{"NS1014", "docker", hostNet + docker, nil, ""},
		{"NS1014", "bridge", bridge + "task \"t\" {\n driver = \"exec\"\n}", nil, ""},

		{"NS1015", "service", hostNet + docker + "service {\n name = \"s\"\n port = \"http\"\n}", []int{16}, `service "s" names port "http", but no docker task of group "g" publishes it`},
		{"NS1015", "listed", hostNet + "task \"t\" {\n driver = \"docker\"\n config {\n  ports = [\"http\"]\n }\n}\n" + `service { port = "http" }`, nil, ""},
		{"NS1015", "network_mode", hostNet + "task \"t\" {\n driver = \"docker\"\n config {\n  network_mode = \"host\"\n }\n}\n" + `service { port = "http" }`, nil, ""},
		{"NS1015", "bridge", bridge + docker + `service { port = "http" }`, nil, ""},
		{"NS1015", "another driver beside it", hostNet + docker + "task \"u\" {\n driver = \"exec\"\n}\n" + `service { port = "http" }`, nil, ""},
		{"NS1015", "unknown ports", "variable \"p\" { type = list(string) }\njob \"j\" {\ngroup \"g\" {\n" + hostNet + "task \"t\" {\n driver = \"docker\"\n config {\n  ports = var.p\n }\n}\nservice { port = \"http\" }\n}\n}", nil, ""},

		{"NS1016", "group ports", hostNet + "task \"t\" {\n driver = \"docker\"\n config {\n  port_map {\n   http = 80\n  }\n }\n}", []int{11}, ""},
		{"NS1016", "task ports", "task \"t\" {\n driver = \"docker\"\n config {\n  port_map {\n   http = 80\n  }\n }\n resources {\n  network {\n   port \"http\" {}\n  }\n }\n}", nil, ""},

		{"NS1017", "env", bridge + "task \"t\" {\n driver = \"docker\"\n env { A = \"${NOMAD_PORT_web}\" }\n}", []int{11}, `Task "t" of group "g" reads NOMAD_PORT_web, but the group declares no port "web".`},
		{"NS1017", "template", bridge + "task \"t\" {\n driver = \"docker\"\n template {\n  data = \"{{ env \\\"NOMAD_ADDR_htp\\\" }}\"\n }\n}", []int{12}, `Did you mean "http"?`},
		{"NS1017", "once for a label", bridge + "task \"t\" {\n driver = \"docker\"\n env { A = \"${NOMAD_PORT_web} ${NOMAD_IP_web}\" }\n}", []int{11}, ""},
		{"NS1017", "declared", bridge + "task \"t\" {\n driver = \"docker\"\n env { A = \"${NOMAD_PORT_http} ${NOMAD_HOST_PORT_http} ${NOMAD_ADDR_t_http} ${NOMAD_UPSTREAM_ADDR_db} ${NOMAD_PORT_connect_proxy_x}\" }\n}", nil, ""},
		{"NS1017", "dashes", "network {\n port \"web-ui\" {}\n}\ntask \"t\" {\n driver = \"docker\"\n env { A = \"${NOMAD_PORT_web_ui} ${NOMAD_PORT_web-ui}\" }\n}", nil, ""},

		{"NS1018", "no check", bridge + docker + "service {\n name = \"s\"\n port = \"http\"\n}", []int{15}, `Service "s" of group "g" has no check`},
		{"NS1018", "check", bridge + docker + "service {\n port = \"http\"\n check {\n  type = \"tcp\"\n  interval = \"1s\"\n  timeout = \"1s\"\n }\n}", nil, ""},
		{"NS1018", "gateway", docker + "service {\n name = \"s\"\n port = \"80\"\n connect {\n  gateway {\n   mesh {}\n  }\n }\n}", nil, ""},
		{"NS1018", "batch", "job \"j\" {\ntype = \"batch\"\ngroup \"g\" {\n" + bridge + docker + "service { port = \"http\" }\n}\n}", nil, ""},
	}
}
