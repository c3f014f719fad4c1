/**
 * Rpc reflection: what a client without the proto files (grpcurl, buf curl) can ask a node about them.
 *
 * The answers are the file descriptors that the generated code carries. v1 and v1alpha have the same
 * messages with the same field numbers under two names, so one implementation serves both.
 *
 * Invariants
 * 1. Descriptors come with everything that they import, imported files after those that need them;
 *    a file is sent once in a stream.
 * 2. A question without an answer gets an error answer, and the stream goes on.
 *
 * Effects: none. Source: gRPC server reflection protocol.
 *
 * @module
 */

import { createRegistry, type DescFile, type Registry, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";

type Answer =
  | {
      readonly case: "fileDescriptorResponse";
      readonly value: { fileDescriptorProto: Uint8Array[] };
    }
  | { readonly case: "listServicesResponse"; readonly value: { service: { name: string }[] } }
  | {
      readonly case: "allExtensionNumbersResponse";
      readonly value: { baseTypeName: string; extensionNumber: number[] };
    }
  | {
      readonly case: "errorResponse";
      readonly value: { errorCode: number; errorMessage: string };
    };

/** What both versions of the protocol have in a request. */
interface Request {
  readonly host: string;
  readonly messageRequest: Question;
}

type Question =
  | {
      readonly case:
        | "fileByFilename"
        | "fileContainingSymbol"
        | "allExtensionNumbersOfType"
        | "listServices";
      readonly value: string;
    }
  | {
      readonly case: "fileContainingExtension";
      readonly value: { readonly containingType: string; readonly extensionNumber: number };
    }
  | { readonly case: undefined; readonly value?: undefined };

/** What both have in an answer. */
interface Response {
  validHost: string;
  originalRequest: { host: string; messageRequest: Question };
  messageResponse: Answer;
}

/** Answers the questions of one stream. */
export type Reflect = (requests: AsyncIterable<Request>) => AsyncGenerator<Response>;

/** Reflection over `files`; the services that it lists are theirs. */
export function createReflection(files: readonly DescFile[]): Reflect {
  const types = typesOf(files);
  return async function* reflect(requests) {
    const sent = new Set<string>();
    for await (const { host, messageRequest } of requests) {
      yield {
        validHost: host,
        originalRequest: { host, messageRequest: copyOf(messageRequest) },
        messageResponse: answerOf(types, messageRequest, sent),
      };
    }
  };
}

/** A question without the name of the version that it was asked in. */
function copyOf(question: Question): Question {
  if (question.case !== "fileContainingExtension") return question;
  const { containingType, extensionNumber } = question.value;
  return { case: question.case, value: { containingType, extensionNumber } };
}

/** What can be asked for. */
interface Types {
  readonly files: ReadonlyMap<string, DescFile>;
  readonly registry: Registry;
  readonly services: readonly string[];
}

function typesOf(roots: readonly DescFile[]): Types {
  const files = new Map<string, DescFile>();
  const visit = (file: DescFile): void => {
    if (files.has(nameOf(file))) return;
    files.set(nameOf(file), file);
    for (const dependency of file.dependencies) visit(dependency);
  };
  for (const file of roots) visit(file);
  const services = roots.flatMap((file) => file.services.map(({ typeName }) => typeName));
  return { files, registry: createRegistry(...files.values()), services: services.sort() };
}

/** With its ending, as imports write it. */
function nameOf(file: DescFile): string {
  return file.proto.name;
}

function answerOf(
  { files, registry, services }: Types,
  question: Question,
  sent: Set<string>,
): Answer {
  switch (question.case) {
    case "listServices":
      return {
        case: "listServicesResponse",
        value: { service: services.map((name) => ({ name })) },
      };
    case "fileByFilename": {
      const file = files.get(question.value);
      return file === undefined ? notFound("file", question.value) : filesAnswer(file, sent);
    }
    case "fileContainingSymbol": {
      const file = fileOfSymbol(registry, question.value);
      return file === undefined ? notFound("symbol", question.value) : filesAnswer(file, sent);
    }
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      return notFound("extension", `${extensionNumber} of ${containingType}`);
    }
    case "allExtensionNumbersOfType":
      // No file of ours extends anything.
      return registry.getMessage(question.value) === undefined
        ? notFound("message", question.value)
        : {
            case: "allExtensionNumbersResponse",
            value: { baseTypeName: question.value, extensionNumber: [] },
          };
    default:
      return errorAnswer(Code.InvalidArgument, "The request asks for nothing.");
  }
}

/** A type, a service, or something inside one: a method, a field, a value of an enum. */
function fileOfSymbol(registry: Registry, symbol: string): DescFile | undefined {
  const found = registry.get(symbol);
  if (found !== undefined) return found.file;
  const dot = symbol.lastIndexOf(".");
  const member = symbol.slice(dot + 1);
  const parent = registry.get(symbol.slice(0, dot));
  switch (parent?.kind) {
    case "service":
      return parent.methods.some(({ name }) => name === member) ? parent.file : undefined;
    case "message": {
      const isInside =
        parent.fields.some(({ name }) => name === member) ||
        parent.oneofs.some(({ name }) => name === member);
      return isInside ? parent.file : undefined;
    }
    default:
      return fileOfEnumValue(registry, symbol);
  }
}

/** The values of an enum stand beside it, not inside it. */
function fileOfEnumValue(registry: Registry, symbol: string): DescFile | undefined {
  for (const type of registry) {
    if (type.kind !== "enum") continue;
    const scope = type.typeName.slice(0, type.typeName.length - type.name.length);
    if (type.values.some(({ name }) => `${scope}${name}` === symbol)) return type.file;
  }
  return undefined;
}

function filesAnswer(file: DescFile, sent: Set<string>): Answer {
  const list: Uint8Array[] = [];
  const add = (each: DescFile): void => {
    if (sent.has(nameOf(each))) return;
    sent.add(nameOf(each));
    list.push(toBinary(FileDescriptorProtoSchema, each.proto));
    for (const dependency of each.dependencies) add(dependency);
  };
  add(file);
  // What was sent before is sent again when it is asked for by itself: an empty answer helps nobody.
  if (list.length === 0) list.push(toBinary(FileDescriptorProtoSchema, file.proto));
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: list } };
}

function notFound(kind: string, name: string): Answer {
  return errorAnswer(Code.NotFound, `There is no ${kind} '${name.slice(0, 256)}' on this node.`);
}

function errorAnswer(errorCode: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}
