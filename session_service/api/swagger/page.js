/* Swagger UI with the contract of the service that this page comes from. */
"use strict";

/* Swagger UI sends the example of each parameter: a key, a version and a session that are not the reader's. */
const emptied = (update) => (contract) => {
  const operations = Object.values(contract.paths).flatMap((item) => Object.values(item));
  const own = operations.flatMap((operation) => operation.parameters ?? []);
  for (const parameter of [...own, ...Object.values(contract.components.parameters)]) {
    parameter.example = "";
  }
  return update(contract);
};

SwaggerUIBundle({
  dom_id: "#page",
  url: "openapi.json",
  plugins: [{ statePlugins: { spec: { wrapActions: { updateJsonSpec: emptied } } } }],
  validatorUrl: null,
  deepLinking: true,
  docExpansion: "list",
  tryItOutEnabled: true,
  displayOperationId: true,
  defaultModelsExpandDepth: 0,
  showExtensions: false,
});
