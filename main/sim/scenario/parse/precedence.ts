/** Operators and how strongly they bind: as in C. */
import { type Span, spanning } from '../diagnostics.ts';
import { type ExpressionTree, spanOf } from './tree.ts';

export const precedence: Readonly<Record<string, number>> = {
  '||': 1,
  '&&': 2,
  '|': 3,
  '^': 4,
  '&': 5,
  '==': 6,
  '!=': 6,
  '<': 7,
  '<=': 7,
  '>': 7,
  '>=': 7,
  '<<': 8,
  '>>': 8,
  '+': 9,
  '-': 9,
  '*': 10,
};

export interface Operation {
  readonly operator: string;
  readonly operand: ExpressionTree;
}

interface Stacks {
  readonly operands: ExpressionTree[];
  readonly operators: string[];
}

const fold = ({ operands, operators }: Stacks): void => {
  const right = operands.pop()!;
  const left = operands.pop()!;
  operands.push({
    kind: 'binary',
    operator: operators.pop()!,
    left,
    right,
    span: spanning(spanOf(left), spanOf(right)),
  });
};

/** Groups `a + b * c …` by precedence; equal operators from left to right. */
export const binaryTree = (first: ExpressionTree, rest: readonly Operation[]): ExpressionTree => {
  const stacks: Stacks = { operands: [first], operators: [] };
  for (const { operator, operand } of rest) {
    while (
      stacks.operators.length > 0 &&
      precedence[stacks.operators.at(-1)!]! >= precedence[operator]!
    )
      fold(stacks);
    stacks.operators.push(operator);
    stacks.operands.push(operand);
  }
  while (stacks.operators.length > 0) fold(stacks);
  return stacks.operands[0]!;
};

/** Prefixes the operators, the last of them innermost. */
export const unaryTree = (
  operators: readonly { readonly image: string; readonly startOffset: number }[],
  operand: ExpressionTree,
): ExpressionTree =>
  operators.reduceRight((inner, { image, startOffset }): ExpressionTree => {
    const at: Span = { offset: startOffset, length: 1 };
    const operator = image === '!' ? '!' : '-';
    return { kind: 'unary', operator, operand: inner, span: spanning(at, spanOf(inner)) };
  }, operand);
