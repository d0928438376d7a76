// Asks the demo accounts of `ambit serve --demo`, and says what came:
//
//     node built/example.js [HOST:PORT]

import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { AmbitError, Client, Session, type Question } from "./client.js";

const client = new Client(process.argv[2] ?? "127.0.0.1:50051", {
  protos: process.env["PROTOS"] ?? fileURLToPath(new URL("../../../proto", import.meta.url)),
  tokenFile: process.env["TOKEN_FILE"],
  caFile: process.env["CA_FILE"],
});
const session = new Session();

function ask(user: string, resourceType: string, action: string, resource?: string): Question {
  const question: Question = { account: "northwind", user, resourceType, action };
  return resource === undefined ? question : { ...question, resource };
}

const allowed = await client.check(session, ask("lena", "contact", "edit", "bosch"));
console.log(`lena edits bosch: ${allowed.effect} ${allowed.reason}`);

const denied = await client.check(session, ask("pierre", "email", "view", "spring-dach"));
console.log(`pierre views spring-dach: ${denied.effect} ${denied.reason}`);
if (denied.effect === "deny") {
  console.log(`to be shown as ${denied.presentation}, to be asked for as ${denied.requestable}`);
}

const ids: string[] = [];
for await (const id of client.listAccessible(session, ask("pierre", "email", "view"))) {
  ids.push(id);
}
console.log(`pierre views the emails ${ids.sort().join(", ")}`);

// A new contact of lena's. The check after it sees it, whichever replica answers.
const contact = `ts-${randomUUID()}`;
const change = {
  put_resource: { resource_type: "contact", id: contact, owners: { ids: ["lena"] } },
};
const before = await client.check(session, ask("lena", "contact", "edit", contact));
const revision = await client.apply(session, "northwind", [change], contact);
const again = await client.apply(session, "northwind", [change], contact);
const after = await client.check(session, ask("lena", "contact", "edit", contact));
console.log(`a new contact: ${before.reason}, then ${after.reason}`);
console.log(`written once: ${revision === again}`);

try {
  await client.check(session, ask("lena", "contact", "juggle", "bosch"));
} catch (error) {
  if (!(error instanceof AmbitError)) {
    throw error;
  }
  console.log(`juggling: ${error.code} ${error.reason}`);
}
client.close();
