// The command line program: reads the arguments, runs one command, and answers with its status.

import { CommanderError } from 'commander';
import { RecordingError } from '#db/failure.ts';
import { commandText, Output, type Status, type Streams, status } from './cli/output.ts';
import { programFor } from './cli/program.ts';
import { InputError } from './input_error.ts';

/** Runs the command that `args` name; nothing that they hold makes it throw. */
export async function main(args: readonly string[], streams: Streams): Promise<Status> {
  let result: Status = status.asAsked;
  const program = programFor(streams, (given) => {
    result = given;
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return result;
  } catch (error) {
    return failure(error, args, streams);
  }
}

function failure(error: unknown, args: readonly string[], streams: Streams): Status {
  const output = new Output(args.includes('--json'), streams);
  if (error instanceof CommanderError && error.exitCode === 0) return status.asAsked;
  if (error instanceof CommanderError) {
    return refuse(output, usageSentence(error), {});
  }
  if (error instanceof InputError) return refuse(output, error.message, error.details);
  if (error instanceof RecordingError) return refuse(output, error.message, {});
  return blameOurselves(output, error, args);
}

/** One line, also where a name that the user gave has line breaks in it. */
function refuse(output: Output, sentence: string, details: Readonly<Record<string, unknown>>) {
  const line = sentence.replace(/\s*[\r\n]+\s*/g, ' ');
  output.say(line);
  if (output.json) output.answer({ error: line, ...details }, () => '');
  return status.wrongInput;
}

const usageSentence = (error: CommanderError): string => {
  if (error.code === 'commander.help') return 'Name a command; apicscope --help lists them.';
  const what = error.message.replace(/^error: /, '').replace(/\.$/, '');
  return `The arguments are wrong: ${what}; see apicscope --help.`;
};

function blameOurselves(output: Output, error: unknown, args: readonly string[]): Status {
  const sentence = error instanceof Error ? error.message : String(error);
  const repeat = commandText(args);
  output.say(`This is a fault of apicscope itself: ${sentence}`);
  output.say(`To repeat it: ${repeat}`);
  if (error instanceof Error && error.stack !== undefined) output.say(error.stack);
  if (output.json) output.answer({ error: sentence, repeat }, () => '');
  return status.ourFault;
}

const isClosed = ({ code }: NodeJS.ErrnoException): boolean =>
  code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED';

/**
 * As a program. A reader that goes away (`| head`) is no fault: what it did not want is dropped. An
 * answer that cannot be written, as on a full disk, is told.
 */
export async function runAsProgram(): Promise<void> {
  let isWritten = true;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (isClosed(error)) return;
    isWritten = false;
    process.exitCode = status.wrongInput;
    process.stderr.write(
      `The answer cannot be written: ${error.message}; make room, or send it elsewhere.\n`,
    );
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (!isClosed(error)) throw error;
  });
  const answered = await main(process.argv.slice(2), {
    out: process.stdout,
    err: process.stderr,
  });
  if (isWritten) process.exitCode = answered;
}

if (import.meta.main) await runAsProgram();
