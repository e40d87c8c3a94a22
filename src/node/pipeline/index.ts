export { columnsOf, type LineBlock, type LineOptions } from './lines.ts';
export { LEVELS, type Level, type LevelId, levelOfLabels, levelOfLine, withLevels } from './level.ts';
export { withServiceName } from './service.ts';
