// Holds rendered objects of the Prometheus operator to the schemas of its kinds, which those of
// Kubernetes don't have.
//
//     node tests/chart-monitoring.mjs NODE_MODULES RENDERED.yaml
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [modules, rendered] = process.argv.slice(2);
const yaml = createRequire(`${modules}/`)("yaml");
const schemas = `${modules}/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js`;
const kinds = await import(pathToFileURL(schemas));

const seen = [];
for (const document of yaml.parseAllDocuments(readFileSync(rendered, "utf8"))) {
  const object = document.toJS();
  if (object?.apiVersion !== "monitoring.coreos.com/v1") continue;
  try {
    new kinds[object.kind](object).validate();
  } catch (error) {
    console.error(`${object.kind} ${object.metadata.name}: ${error.message}`);
    process.exit(1);
  }
  seen.push(object.kind);
}
if (seen.sort().join() !== "PrometheusRule,ServiceMonitor") {
  console.error(`a PrometheusRule and a ServiceMonitor are expected, not: ${seen.join()}`);
  process.exit(1);
}
