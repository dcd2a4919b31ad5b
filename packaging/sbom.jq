# Merges the CycloneDX documents of a package's programs. The components are the programs, with
# their digests, and the modules of all of them.
def property($name): [.properties[] | select(.name == $name).value][0];

[.[] | .metadata as $m
  | $m.component
  + {
    name: ($m | property("cdx:gomod:binary:name")),
    hashes: [{alg: "SHA-256", content: ($m | property("cdx:gomod:binary:hash:SHA-256"))}]
  }] as $programs
| "pkg:generic/\($name)@\($version)" as $package
| {
  "$schema": .[0]."$schema",
  bomFormat: .[0].bomFormat,
  specVersion: .[0].specVersion,
  version: 1,
  metadata: {
    tools: [.[0].metadata.tools[] | {vendor, name, version}],
    component: {"bom-ref": $package, type: "application", name: $name, version: $version, purl: $package}
  },
  components: ($programs + [.[].components[]] | unique_by(."bom-ref")),
  dependencies: (
    [{ref: $package, dependsOn: [$programs[]."bom-ref"]}]
    + ([.[].dependencies[]] | group_by(.ref)
      | map({ref: .[0].ref, dependsOn: ([.[].dependsOn // [] | .[]] | unique)}))
  )
}
