// A small client of Ambit for TypeScript services: copy it, it is meant to be yours.
//
// It fails closed: `check` answers a decision that is an allow or a deny, or throws. A decision is an
// object, which is always true, so the two are told apart by `effect`, and the compiler refuses to
// read what belongs to the other one.

import { readFileSync } from "node:fs";
import * as grpc from "@grpc/grpc-js";
import * as loader from "@grpc/proto-loader";
import protobuf from "protobufjs";
import type { ProtoGrpcType as DecisionProtos } from "./generated/decision.js";
import type { ProtoGrpcType as DirectoryProtos } from "./generated/directory.js";
import type { Change } from "./generated/ambit/v1/Change.js";
import type { ApplyChangesResponse__Output } from "./generated/ambit/v1/ApplyChangesResponse.js";
import type { CheckResponse__Output } from "./generated/ambit/v1/CheckResponse.js";
import type { Consistency } from "./generated/ambit/v1/Consistency.js";
import type { DecisionServiceClient } from "./generated/ambit/v1/DecisionService.js";
import type { DirectoryServiceClient } from "./generated/ambit/v1/DirectoryService.js";

export type Decision =
  | { effect: "allow"; reason: string; revision: string }
  | {
      effect: "deny";
      reason: string;
      requestable: string;
      presentation: string;
      revision: string;
    };

export interface Question {
  account: string;
  user: string;
  resourceType: string;
  action: string;
  /** Absent: the tool as a whole. */
  resource?: string;
}

/** Why there is no answer. Never a decision. */
export class AmbitError extends Error {
  constructor(
    readonly code: string,
    /** One of the closed list of docs/api.md; empty where no server of ours answered. */
    readonly reason: string,
    message: string,
  ) {
    super(`${message} [${reason || code}]`);
  }

  static of(error: grpc.ServiceError): AmbitError {
    return new AmbitError(grpc.status[error.code] ?? "UNKNOWN", reasonOf(error), error.details);
  }
}

/**
 * The last revision that was met, for each account: sent along, no answer is older. Revisions are
 * opaque, so the last one counts: let the calls of one session come one after another.
 */
export class Session {
  readonly #met = new Map<string, string>();

  met(account: string, revision: string): void {
    if (revision !== "") {
      this.#met.set(account, revision);
    }
  }

  consistency(account: string): Consistency | undefined {
    const revision = this.#met.get(account);
    return revision === undefined ? undefined : { at_least_as_fresh: revision };
  }
}

export interface Options {
  /** Read for each call, so that the token may be exchanged at any time. */
  tokenFile?: string | undefined;
  /** Without it nothing is encrypted: only on this machine, or where a mesh does it. */
  caFile?: string | undefined;
  timeoutMs?: number;
  protos: string;
}

// What is safe to repeat is repeated by grpc itself, before there is an answer and never after. A
// write is not among it: repeat one yourself, under an idempotency key.
const SERVICE_CONFIG = JSON.stringify({
  methodConfig: [
    {
      name: [{ service: "ambit.v1.DecisionService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.05s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
  retryThrottling: { maxTokens: 10, tokenRatio: 0.1 },
});

export class Client {
  readonly #decisions: DecisionServiceClient;
  readonly #directory: DirectoryServiceClient;
  readonly #options: Options;

  constructor(target: string, options: Options) {
    const load = (file: string) =>
      grpc.loadPackageDefinition(
        loader.loadSync(file, {
          includeDirs: [options.protos],
          keepCase: true,
          longs: String,
          enums: String,
          defaults: true,
          oneofs: true,
        }),
      ) as unknown;
    const decisions = (load("ambit/v1/decision.proto") as DecisionProtos).ambit.v1;
    const directory = (load("ambit/v1/directory.proto") as DirectoryProtos).ambit.v1;
    const credentials =
      options.caFile === undefined
        ? grpc.credentials.createInsecure()
        : grpc.credentials.createSsl(readFileSync(options.caFile));
    const channel = { "grpc.service_config": SERVICE_CONFIG };
    this.#options = options;
    this.#decisions = new decisions.DecisionService(target, credentials, channel);
    this.#directory = new directory.DirectoryService(target, credentials, channel);
  }

  close(): void {
    this.#decisions.close();
    this.#directory.close();
  }

  async check(session: Session, question: Question): Promise<Decision> {
    if (question.resource === "") {
      // On the wire it would be the question about the tool as a whole.
      throw new RangeError("the id of the resource is empty");
    }
    const request = {
      account_id: question.account,
      user_id: question.user,
      resource_type: question.resourceType,
      action: question.action,
      resource_id: question.resource ?? "",
      consistency: session.consistency(question.account),
    };
    const answer = await called<CheckResponse__Output>(this.#deadline(), (options, done) =>
      this.#decisions.check(request, this.#metadata(), options, done),
    );
    session.met(question.account, answer.revision);
    const { reason, requestable, presentation, revision } = answer;
    switch (answer.decision) {
      case "DECISION_ALLOW":
        return { effect: "allow", reason, revision };
      case "DECISION_DENY":
        return { effect: "deny", reason, requestable, presentation, revision };
      default:
        throw new AmbitError("UNKNOWN", "", "the answer has no decision");
    }
  }

  /** Every id, as they come. It is complete where it ends without an error, and only there. */
  async *listAccessible(session: Session, question: Question): AsyncGenerator<string> {
    const stream = this.#decisions.listAccessible(
      {
        account_id: question.account,
        user_id: question.user,
        resource_type: question.resourceType,
        action: question.action,
        consistency: session.consistency(question.account),
      },
      this.#metadata(),
    );
    let total: number | undefined;
    let came = 0;
    try {
      for await (const chunk of stream) {
        if (total === undefined) {
          total = Number(chunk.total);
          session.met(question.account, chunk.revision);
        }
        came += chunk.ids.length;
        yield* chunk.ids as string[];
      }
    } catch (error) {
      throw isServiceError(error) ? AmbitError.of(error) : error;
    } finally {
      stream.cancel();
    }
    if (came !== total) {
      throw new AmbitError("UNKNOWN", "", `the list has ${came} of ${total}`);
    }
  }

  /** Makes the changes once, however often it is called with this key within 24 hours. */
  async apply(
    session: Session,
    account: string,
    changes: Change[],
    idempotencyKey: string,
  ): Promise<string> {
    const answer = await called<ApplyChangesResponse__Output>(this.#deadline(), (options, done) => {
      const stream = this.#directory.applyChanges(this.#metadata(), options, done);
      stream.end({ account_id: account, idempotency_key: idempotencyKey, changes });
    });
    session.met(account, answer.revision);
    return answer.revision;
  }

  #deadline(): grpc.CallOptions {
    return { deadline: Date.now() + (this.#options.timeoutMs ?? 10_000) };
  }

  #metadata(): grpc.Metadata {
    const metadata = new grpc.Metadata();
    if (this.#options.tokenFile !== undefined) {
      const token = readFileSync(this.#options.tokenFile, "utf8").trim();
      metadata.set("authorization", `Bearer ${token}`);
    }
    return metadata;
  }
}

function called<Answer>(
  options: grpc.CallOptions,
  send: (options: grpc.CallOptions, done: grpc.requestCallback<Answer>) => unknown,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    send(options, (error, answer) => {
      if (error !== null) {
        reject(AmbitError.of(error));
      } else if (answer === undefined) {
        reject(new AmbitError("UNKNOWN", "", "there is no answer"));
      } else {
        resolve(answer);
      }
    });
  });
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}

// google.rpc.Status and ErrorInfo, as far as they are read here.
const DETAILS = protobuf.parse(
  `syntax = "proto3";
   message Any { string type_url = 1; bytes value = 2; }
   message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
   message ErrorInfo { string reason = 1; string domain = 2; }`,
  { keepCase: true },
).root;

function reasonOf(error: grpc.ServiceError): string {
  const Status = DETAILS.lookupType("Status");
  const ErrorInfo = DETAILS.lookupType("ErrorInfo");
  for (const bytes of error.metadata.get("grpc-status-details-bin")) {
    const status = Status.toObject(Status.decode(bytes as Buffer), { arrays: true });
    for (const detail of status["details"]) {
      if (detail.type_url === "type.googleapis.com/google.rpc.ErrorInfo") {
        const info = ErrorInfo.toObject(ErrorInfo.decode(detail.value));
        if (info["domain"] === "ambit") {
          return info["reason"];
        }
      }
    }
  }
  return "";
}
